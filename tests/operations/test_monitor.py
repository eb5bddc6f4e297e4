"""Watching a study: what a person and a script see of it, under way and ended."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from end_to_end import tiny
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.operations import monitor
from fedswin.operations.monitor import JobSource, watch
from fedswin.operations.run_source import run_source
from fedswin.operations.study_table import StudyTable, record_line
from fedswin.operations.study_view import Step, StudyView
from fedswin.outcome import Outcome, write_outcome
from fedswin.records import Record, round_record
from fedswin.run_folder import RunFolder, write_job
from fedswin.run_lock import lock_run
from fedswin.status import Status, StatusFile
from fedswin.training.journal import Journal
from fedswin.weights.file import load_weights
from learning import AT_CHANCE, learning_record


@pytest.fixture
def job() -> Job:
    return tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 4}})


def record(number: int, loss: float) -> Record:
    site = {"metrics": {"loss": loss}, "validation_cases": 1, "weight": 3, "cases": 3, "train": {"loss": loss + 1}}
    sizes = {"bytes_up": 2_000_000, "bytes_down": 1_000_000, "seconds": 40.0}
    return round_record(number, "ok" if number else "initial", {"north": {**site, **sizes}})


@pytest.fixture
def run(job: Job, tmp_path: Path) -> Path:
    """A run of two scored models."""
    folder = RunFolder(tmp_path, job)
    write_job(tmp_path, job)
    for number, loss in enumerate([3.0, 2.5]):
        folder.close_round(record(number, loss), {})
    return tmp_path


def shown(view: StudyView) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(StudyTable(view))
    return console.file.getvalue()


def test_a_simulation_under_way(run: Path) -> None:
    status = StatusFile(run, clock=lambda: 100.0)
    for number in range(3):
        status.begin(number, {"north": "training", "south": "training"})
    Journal(run / "sites" / "north").write("training", 2, step=1, of=2, loss=3.25)
    Journal(run / "sites" / "south").write("training", 1, step=2, of=2, loss=7.0)  # of a round that is over
    with lock_run(run):
        view = run_source(run)()
    assert (view.round, view.best) == (3, (1, 2.5))
    assert view.steps == {"north": Step(1, 2, 3.25)}
    [north, south] = view.sites
    assert (north.state, north.losses, north.scores) == ("training", [4.0, 3.5, 3.25], [3.0, 2.5])
    assert (north.bytes_up, north.bytes_down) == (4_000_000, 2_000_000)
    assert (south.state, south.step) == ("training", None)


def test_a_local_run_under_way_is_told_by_its_journal(run: Path) -> None:
    Journal(run / "sites" / "north").write("training", 1, step=1, of=2, loss=3.25)
    with lock_run(run):
        view = run_source(run)()
        assert [site.state for site in view.sites] == ["training"]
        assert view.round == 2
        assert view.seconds_elapsed is not None
        assert view.seconds_left == pytest.approx(2.5 * 40.0)  # rounds of 40 s by the records, half of one is made


def test_a_study_that_has_ended_and_one_that_was_cut_off(run: Path) -> None:
    status = StatusFile(run)
    status.begin(1, {"north": "training", "south": "training"})
    status.answered("south", "gone")
    text = shown(run_source(run)())
    assert "Not running; --resume goes on with it." in text
    assert "training" not in text
    assert "gone" in text
    write_outcome(run, Outcome("completed", 4, "All 4 rounds are done."))
    assert "All 4 rounds are done." in shown(run_source(run)())


def test_the_best_model_is_that_of_the_sites_that_scored_both(job: Job, tmp_path: Path) -> None:
    """A model looks good while a hard site is away."""
    folder = RunFolder(tmp_path, job)
    write_job(tmp_path, job)
    easy, hard = ({"metrics": {"loss": loss}, "validation_cases": 1} for loss in (1.0, 9.0))
    folder.close_round(round_record(0, "initial", {"easy": easy, "hard": hard}), {})
    folder.close_round(round_record(1, "ok", {"easy": {**easy, "metrics": {"loss": 1.1}}}), {})
    assert run_source(tmp_path)().best == (0, 5.0)
    assert load_weights(tmp_path / "global" / "best.pt").provenance["round"] == 0


def test_a_script_gets_plain_values(run: Path) -> None:
    StatusFile(run, clock=lambda: 5.0).begin(1, {"north": "training", "south": "training"})
    Journal(run / "sites" / "north").write("training", 1, step=1, of=2, loss=float("nan"))
    with lock_run(run):
        text = json.dumps(run_source(run)().as_dict(), allow_nan=False)
    content = json.loads(text)
    assert (content["job"], content["rounds"], content["round"], len(content["records"])) == ("tiny_pretrain", 4, 2, 2)
    assert content["best"] == {"round": 1, "value": 2.5}
    north = content["sites"]["north"]
    assert (north["state"], north["step"], north["steps"], north["loss"], north["score"]) == (
        "training",
        1,
        2,
        3.5,
        2.5,
    )
    assert content["sites"]["south"]["loss"] is None


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="is no run folder, and no job's id with --kit"):
        run_source(tmp_path / "none")


def lines_of(views: list[StudyView], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(monitor, "_POLL_SECONDS", 0)
    monkeypatch.setattr(monitor, "_time_of_day", lambda: "12:00")
    console = Console(file=io.StringIO(), width=200)
    looks = iter(views)
    watch(lambda: next(looks), console)
    return console.file.getvalue().splitlines()


def test_each_line_is_printed_once_until_the_study_ends(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record(number, 3.0 - number) for number in range(3)]
    views = [StudyView(job, records[: number + 1], None, "Done." if number == 2 else "") for number in range(3)]
    first, second, third = (record_line(job, item) for item in records)
    assert lines_of(views, monkeypatch) == [f"      {first}", f"12:00 {second}", f"12:00 {third}", "12:00 Done."]


def test_a_log_tells_what_went_amiss(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    amiss = {"refused": [{"site": "a", "reason": "nan"}], "late": [{"site": "b", "round": 1}], "missing": ["c", "d"]}
    made = record(1, 2.0) | amiss
    views = [
        StudyView(job, [], Status(0, {"a": "training", "c": "training"}), ""),
        StudyView(job, [], Status(0, {"a": "training", "c": "gone"}), ""),
        StudyView(job, [made], Status(1, {"a": "late", "c": "gone"}), ""),
        StudyView(job, [made], None, "Done."),
    ]
    assert lines_of(views, monkeypatch) == [
        "12:00 c is gone",
        "12:00 a is late",
        f"12:00 {record_line(job, made)}",
        "12:00 round 1: no answer in time from c, d",
        "12:00 round 1: the update of b for round 2 came after that was over",
        "12:00 round 1: the update of a was refused: nan",
        "12:00 Done.",
    ]


def test_whoever_watches_sees_whether_it_learns_and_is_warned_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [learning_record(number, **AT_CHANCE) for number in range(4)]
    views = [StudyView(job, records[:count], None, "Done." if count == 4 else "") for count in (2, 3, 4)]
    line = "rotation 0.25 (chance 0.25), contrastive 1.00 of chance, features spread 0.11, rank 37 of 4: rotation at"
    found = lines_of(views, monkeypatch)
    assert [line in text for text in found] == [False, True, False, True, False, False, True, False, True, False]
    warned = [text for text in found if "Warning" in text]
    assert [text.strip() for text in warned] == [found[4].strip()]
    assert "after 25% of its steps, the pre-training is at chance. What to do: jobs/when_" in found[4]
    content = json.loads(json.dumps(views[-1].as_dict(), allow_nan=False))
    assert content["learning"]["verdict"] == content["sites"]["a"]["learning"]["verdict"] == "at chance"
    table = shown(views[0])
    assert line in " ".join(table.split())
    assert "Warning: after 25% of its steps" in table
    assert "Warning" not in shown(StudyView(job, records[:1], None, ""))


@pytest.mark.parametrize("terminal", [False, True])
def test_ctrl_c_ends_the_watching_and_says_so(job: Job, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor.time, "sleep", interrupt)
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
    watch(lambda: StudyView(job, [], None, ""), console)
    assert "The study goes on; only the watching has ended." in console.file.getvalue()


class Server:
    """A federation whose job starts late, and tells each record once."""

    def __init__(self, job: Job) -> None:
        self.told = [{}, {"job": job.as_dict(), "records": [record(0, 3.0)], "status": None}, {}]
        self.told[2] = {
            "job": job.as_dict(),
            "records": [record(1, 2.0)],
            "status": {"round": 1, "sites": {"north": "training"}, "began": 60.0},
            "steps": {"north": [1, 2, 2.5]},
            "now": 90.0,
            "best": 0,
        }
        self.known: list[int] = []

    def job(self, job_id: str) -> dict[str, Any]:
        return {"job_id": job_id, "status": "RUNNING" if self.told else "FINISHED:COMPLETED"}

    def show_study(self, job_id: str, known: int) -> dict[str, Any]:
        self.known.append(known)
        return self.told.pop(0) if self.told else {}


def test_a_job_is_asked_for_what_is_new(job: Job) -> None:
    server = Server(job)
    look = JobSource(server, "17")  # type: ignore[arg-type]
    assert "has not started: running" in shown(look())
    before = look()
    view = look()
    assert len(before.records) == 1, "what is new is told by what the view before had"
    assert server.known == [0, 0, 1]
    assert [line["round"] for line in view.records] == [0, 1]
    assert view.status == Status(1, {"north": "training"}, began=60.0)
    assert view.sites[0].losses[-1] == 2.5
    assert (before.best, view.best) == ((0, 3.0), (0, 3.0)), "the server knows which model best.pt holds"
    assert view.seconds_left == pytest.approx(30.0 + 2 * 60.0)  # half of the first round took half a minute
    assert "FINISHED:COMPLETED. 'fedswin fetch 17' brings the result." in shown(look())
