"""Watching a study: a simulation, a local run, or a job of a federation, under way or ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from fedswin.config import Job, load_job, parse_job
from fedswin.errors import FedSwinError
from fedswin.operations.admin import Federation, has_ended
from fedswin.operations.study_view import StudyView, record_line, render
from fedswin.outcome import read_outcome
from fedswin.run_folder import JOB, Record, read_records
from fedswin.run_lock import is_locked
from fedswin.status import Status, read_status

_POLL_SECONDS = 2.0

Source = Callable[[], StudyView]
"""Returns how far the study is now."""


def run_source(run: Path) -> Source:
    """Return a source for the run folder at ``run``.

    Raises:
        FedSwinError: if it is none.
    """
    if not (run / JOB).is_file():
        raise FedSwinError(f"{run} is no run folder, and no job's id with --kit. Give one of the two.")
    job = load_job(run / JOB)

    def look() -> StudyView:
        outcome = read_outcome(run)
        running = is_locked(run)
        ended = outcome.message if outcome else "" if running else "Not running; --resume goes on with it."
        return StudyView(job, read_records(run), read_status(run), ended)

    return look


class JobSource:
    """A source for a job of a federation; the server tells what is new.

    Args:
        federation: a session with the server.
        job_id: the job's id.
    """

    def __init__(self, federation: Federation, job_id: str) -> None:
        self._federation = federation
        self._job_id = job_id
        self._job: Job | None = None
        self._records: list[Record] = []
        self._status: Status | None = None

    def __call__(self) -> StudyView:
        """Return how far the study is now.

        Raises:
            FedSwinError: if the server cannot be reached or refuses, or knows no such job.
        """
        about = self._federation.job(self._job_id)
        if told := self._federation.show_study(self._job_id, len(self._records)):
            self._take(told)
        state = str(about["status"])
        ended = f"{state}. 'fedswin fetch {self._job_id}' brings the result." if has_ended(about) else ""
        return StudyView(self._job, self._records, self._status, ended, waiting="" if self._job else state)

    def _take(self, told: dict[str, Any]) -> None:
        self._job = self._job or parse_job(told["job"], "the server's job")
        self._records += told["records"]
        self._status = Status(**told["status"]) if told["status"] else None


def watch(source: Source, console: Console, *, plain: bool = False) -> None:
    """Show a study until it ends; the study does not notice who watches.

    Args:
        source: where to look.
        console: where to print.
        plain: print a line for each global model, as for a log, instead of a table that is kept up to date.
    """
    view = source()
    if plain or not console.is_terminal:
        _print_lines(source, view, console)
        return
    with Live(render(view), console=console, auto_refresh=False) as live:
        while not view.ended:
            time.sleep(_POLL_SECONDS)
            view = source()
            live.update(render(view), refresh=True)


def _print_lines(source: Source, view: StudyView, console: Console) -> None:
    shown = 0
    while True:
        if view.job:
            for record in view.records[shown:]:
                console.print(record_line(view.job, record))
            shown = len(view.records)
        if view.ended:
            console.print(view.ended)
            return
        time.sleep(_POLL_SECONDS)
        view = source()
