"""The status of a study on disk: who does what, and how long a round takes."""

from __future__ import annotations

from pathlib import Path

from fedswin.status import Status, StatusFile, read_status


def test_nobody_does_anything_before_a_study_has_begun(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None


def test_each_site_is_followed_through_a_round(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.prepare(0, ["a", "b"])
    assert read_status(tmp_path) == Status(0, {"a": "preparing", "b": "preparing"})
    file.begin(0, {"a": "training", "b": "scoring", "c": "training"})
    file.answered("a", "sent")
    file.answered("c", "refused")
    status = read_status(tmp_path)
    assert status is not None
    assert status.sites == {"a": "sent", "b": "scoring", "c": "refused"}


def test_a_silent_site_that_is_heard_again_does_what_it_was_asked(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.begin(3, {"a": "training", "b": "scoring"})
    for silent, expected in ((["b"], "silent"), ([], "scoring"), (["b"], "silent")):
        file.silent(silent)
        status = read_status(tmp_path)
        assert status is not None
        assert status.sites == {"a": "training", "b": expected}
    file.answered("b", "sent")
    file.silent(["b"])
    status = read_status(tmp_path)
    assert status is not None
    assert status.sites["b"] == "sent"


def test_a_status_is_written_only_when_it_changes(tmp_path: Path) -> None:
    file = StatusFile(tmp_path)
    file.begin(0, {"a": "training"})
    written = (tmp_path / "status.json").stat().st_ino
    file.silent([])
    assert (tmp_path / "status.json").stat().st_ino == written


def test_a_round_takes_as_long_as_the_rounds_before_did_on_average(tmp_path: Path) -> None:
    times = iter([100.0, 130.0, 170.0])
    file = StatusFile(tmp_path, clock=lambda: next(times))
    for number, expected in enumerate([None, 30.0, 35.0]):
        file.begin(number, {"a": "training"})
        status = read_status(tmp_path)
        assert status is not None
        assert (status.round, status.round_seconds) == (number, expected)
