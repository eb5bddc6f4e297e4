"""The status of a study on disk: who does what, and how long a round takes."""

from __future__ import annotations

from pathlib import Path

from fedswin.status import Status, StatusFile, parse_status, read_status


def test_nobody_does_anything_before_a_study_has_begun(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None


def states(run: Path) -> dict[str, str]:
    status = read_status(run)
    assert status is not None
    return dict(status.sites)


def test_each_site_is_followed_through_a_round(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.prepare(0, ["a", "b"])
    assert states(tmp_path) == {"a": "preparing", "b": "preparing"}
    file.answered("a", "waiting")
    file.end_round()
    assert states(tmp_path) == {"a": "sent", "b": "late"}
    file.begin(0, {"a": "training", "b": "scoring", "c": "training"})
    file.answered("a", "waiting")
    file.answered("c", "refused")
    assert states(tmp_path) == {"a": "waiting", "b": "late", "c": "refused"}
    file.answered("b", "waiting")
    file.end_round()
    assert states(tmp_path) == {"a": "sent", "b": "sent", "c": "refused"}


def test_a_silent_site_that_is_heard_again_does_what_it_was_asked(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.begin(3, {"a": "training", "b": "scoring"})
    for silent, expected in ((["b"], "gone"), ([], "scoring"), (["b"], "gone")):
        file.silent(silent)
        assert states(tmp_path) == {"a": "training", "b": expected}
    file.answered("b", "waiting")
    file.silent(["b"])
    assert states(tmp_path)["b"] == "waiting"


def test_a_site_that_was_not_waited_for_is_late_until_it_answers(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.begin(0, {"a": "training", "b": "training"})
    file.answered("a", "waiting")
    file.end_round()
    for number in (1, 2):
        file.begin(number, {"a": "training", "b": "training"})
        assert states(tmp_path) == {"a": "training", "b": "late"}
    file.answered("b", "waiting")
    file.begin(3, {"a": "training", "b": "training"})
    assert states(tmp_path)["b"] == "training"


def test_a_site_that_is_gone_stays_in_sight_and_is_late_when_it_is_back(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.begin(0, {"a": "training", "b": "training", "c": "training"})
    file.answered("a", "waiting")
    file.answered("b", "gone")  # left out: it is asked no more
    file.silent(["c"])
    file.end_round()
    file.begin(1, {"a": "training", "c": "training"})
    assert states(tmp_path) == {"a": "training", "b": "gone", "c": "gone"}
    file.silent([])
    assert states(tmp_path) == {"a": "training", "b": "gone", "c": "late"}


def test_a_site_has_been_what_it_is_since_it_became_that(tmp_path: Path) -> None:
    now = 100.0
    file = StatusFile(tmp_path, clock=lambda: now)
    file.prepare(0, ["a", "b"])
    now = 110.0
    file.begin(0, {"a": "training", "b": "training"})
    now = 115.0
    file.answered("b", "waiting")
    now = 117.0
    file.silent(["a"])
    now = 119.0
    file.end_round()
    now = 120.0
    file.begin(1, {"a": "training", "b": "training"})
    status = read_status(tmp_path)
    assert status is not None
    assert status.since == {"a": 117.0, "b": 120.0}
    assert (status.started, status.began) == (100.0, 120.0)


def test_what_another_version_writes_into_a_status_is_left_out() -> None:
    assert parse_status({"round": 2, "sites": {}, "weather": "fine"}) == Status(2, {})


def test_a_status_is_written_only_when_it_changes(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.begin(0, {"a": "training"})
    written = (tmp_path / "status.json").stat().st_ino
    file.silent([])
    assert (tmp_path / "status.json").stat().st_ino == written


def test_a_round_takes_as_long_as_the_rounds_before_did_on_average(tmp_path: Path) -> None:
    now = 100.0
    file = StatusFile(tmp_path, clock=lambda: now)
    for number, (seconds, expected) in enumerate([(0.0, None), (30.0, 30.0), (40.0, 35.0)]):
        now += seconds
        file.begin(number, {"a": "training"})
        status = read_status(tmp_path)
        assert status is not None
        assert (status.round, status.round_seconds) == (number, expected)
