"""Watching a study: what a person and a script see of it, under way and ended."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from end_to_end import tiny
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.operations import monitor
from fedswin.operations.monitor import JobSource, run_source, watch
from fedswin.operations.study_view import StudyView, record_line, render, sparkline
from fedswin.outcome import Outcome, write_outcome
from fedswin.run_folder import Record, RunFolder, round_record, write_job
from fedswin.run_lock import lock_run
from fedswin.status import Status, StatusFile


@pytest.fixture
def job() -> Job:
    return tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 4}})


def record(number: int, loss: float) -> Record:
    site = {"metrics": {"loss": loss}, "validation_cases": 1, "weight": 3, "cases": 3, "train": {"loss": loss + 1}}
    sizes = {"bytes_up": 2_000_000, "bytes_down": 1_000_000}
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
    console.print(render(view))
    return console.file.getvalue()


def test_a_study_under_way(run: Path) -> None:
    times = iter([0.0, 60.0, 120.0])
    status = StatusFile(run, clock=lambda: next(times))
    for number in range(3):
        status.begin(number, {"north": "training", "south": "training"})
    status.answered("south", "refused")
    with lock_run(run):
        text = shown(run_source(run)())
    assert "tiny_pretrain: round 2 of 4, loss 2.5000 █▁ best 2.5000 (round 1), about 2:00 min left" in text
    [north, south] = [line for line in text.splitlines() if "north" in line or "south" in line]
    assert [cell.strip() for cell in north.split("│")[1:-1]] == [
        *("north", "training", "3.5000 █▁", "2.5000 █▁", "3", "4.0", "2.0")
    ]
    assert "refused" in south


def test_a_study_that_has_ended_and_one_that_was_cut_off(run: Path) -> None:
    assert "Not running; --resume goes on with it." in shown(run_source(run)())
    write_outcome(run, Outcome("completed", 4, "All 4 rounds are done."))
    assert "All 4 rounds are done." in shown(run_source(run)())


def test_a_script_gets_plain_values(run: Path) -> None:
    content = json.loads(json.dumps(run_source(run)().as_dict()))
    assert (content["job"], content["rounds"], len(content["records"])) == ("tiny_pretrain", 4, 2)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="is no run folder, and no job's id with --kit"):
        run_source(tmp_path / "none")


def test_each_line_is_printed_once_until_the_study_ends(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_POLL_SECONDS", 0)
    records = [record(number, 3.0 - number) for number in range(3)]
    views = iter([StudyView(job, records[: number + 1], None, "Done." if number == 2 else "") for number in range(3)])
    console = Console(file=io.StringIO(), width=120)
    watch(lambda: next(views), console)
    assert console.file.getvalue().splitlines() == [*(record_line(job, item) for item in records), "Done."]


class Server:
    """A federation whose job starts late, and tells each record once."""

    def __init__(self, job: Job) -> None:
        self.told = [{}, {"job": job.as_dict(), "records": [record(0, 3.0)], "status": None}, {}]
        self.told[2] = {
            "job": job.as_dict(),
            "records": [record(1, 2.0)],
            "status": {"round": 1, "sites": {"north": "training"}, "round_seconds": None},
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
    look()
    view = look()
    assert server.known == [0, 0, 1]
    assert [line["round"] for line in view.records] == [0, 1]
    assert view.status == Status(1, {"north": "training"})
    assert "FINISHED:COMPLETED. 'fedswin fetch 17' brings the result." in shown(look())


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_sparkline_is_highest_where_the_values_are(values: list[float]) -> None:
    line = sparkline(values)
    assert len(line) == len(values)
    if max(values) > min(values):
        assert line[values.index(max(values))] == "█"
        assert line[values.index(min(values))] == "▁"
    ordered = sparkline(sorted(values))
    assert list(ordered) == sorted(ordered)
