"""Watching a study: a simulation, a local run, or a job of a federation, under way or ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.live import Live

from fedswin.config import Job, parse_job
from fedswin.operations.admin import Federation, has_ended
from fedswin.operations.study_table import StudyTable, learning_lines, record_line, record_notes
from fedswin.operations.study_view import Source, Step, StudyView
from fedswin.records import Record
from fedswin.status import Status, parse_status

_POLL_SECONDS = 2.0
_ALERTS = ("late", "gone")
"""States of a site that a log should tell at once; records tell the rest."""


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
        self._steps: dict[str, Step] = {}
        self._now = 0.0
        self._best: int | None = None

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
        waiting = "" if self._job else state
        return StudyView(self._job, self._records, self._status, ended, waiting, self._steps, self._now, self._best)

    def _take(self, told: dict[str, Any]) -> None:
        self._job = self._job or parse_job(told["job"], "the server's job")
        self._records = [*self._records, *told["records"]]  # a new list: views hold the old ones
        self._status = parse_status(told["status"]) if told["status"] else None
        self._steps = {site: Step(*step) for site, step in told.get("steps", {}).items()}
        self._now = told.get("now", 0.0)
        self._best = told.get("best")


def watch(source: Source, console: Console, *, plain: bool = False) -> None:
    """Show a study until it ends, or until Ctrl-C; the study does not notice who watches.

    Args:
        source: where to look.
        console: where to print.
        plain: print a line for each thing that happens, as for a log, instead of a table that is kept up to date.
    """
    show = _print_lines if plain or not console.is_terminal else _keep_table
    try:
        show(source, console)
    except KeyboardInterrupt:
        console.print("The study goes on; only the watching has ended.")


def _keep_table(source: Source, console: Console) -> None:
    view = source()
    with Live(StudyTable(view, console.height), console=console, auto_refresh=False) as live:
        while not view.ended:
            time.sleep(_POLL_SECONDS)
            view = source()
            live.update(StudyTable(view, console.height), refresh=True)
        live.update(StudyTable(view), refresh=True)


def _print_lines(source: Source, console: Console) -> None:
    """Print each line with the time at which it was seen; what had happened before the first look has none."""
    before = source()
    margin = "" if before.ended else " " * len(f"{_time_of_day()} ")
    for line in _news(before):
        console.print(f"{margin}{line}", markup=False)
    while not before.ended:
        time.sleep(_POLL_SECONDS)
        view = source()
        for line in _news(view, before):
            console.print(f"{_time_of_day()} {line}", markup=False)
        before = view


def _news(view: StudyView, before: StudyView | None = None) -> Iterator[str]:
    """Yield a line for each thing that has happened since ``before``."""
    old = before.status.sites if before and before.status else {}
    for site, state in (view.status.sites if view.status else {}).items():
        if state in _ALERTS and state != old.get(site) and not view.ended:
            yield f"{site} is {state}"
    if view.job:
        for number in range(len(before.records) if before else 0, len(view.records)):
            record = view.records[number]
            yield record_line(view.job, record)
            yield from learning_lines(view.job, view.records[:number], record)
            yield from (f"round {record['round']}: {note}" for note in record_notes(record))
    if view.ended:
        yield view.ended


def _time_of_day() -> str:
    return f"{datetime.now():%Y-%m-%d %H:%M:%S}"
