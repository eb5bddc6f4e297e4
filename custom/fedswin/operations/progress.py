"""What a person sees while a study runs here: what `fedswin monitor` shows of it, or lines with the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live

from fedswin.config import Job
from fedswin.operations.run_source import run_source
from fedswin.operations.study_table import StudyTable, duration, learning_lines, record_line
from fedswin.records import Record, read_records
from fedswin.training.journal import last_entry


class StudyProgress:
    """Follows the records of a study and the journals of its sites, and prints one line for each global model.

    On a terminal it also keeps a table up to date.

    Args:
        job: the job that runs.
        run: the run folder.
        journals: the folder that each site's journal appears in.
        console: where to print.
    """

    def __init__(self, job: Job, run: Path, journals: Mapping[str, Path], console: Console) -> None:
        self._job = job
        self._run = run
        self._look = run_source(run)
        self._journals = journals
        self._console = console
        self._started = time.monotonic()
        self._first_step: tuple[float, float] | None = None  # when, and the share done then: starting up is left out
        self._shown = 0
        self._live: Live | None = None
        if console.is_terminal:  # a refresh reads all records, so there is one a second
            self._live = Live(get_renderable=self._table, console=console, transient=True, refresh_per_second=1)

    def __enter__(self) -> StudyProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Take note of how far the sites are, and print the records that are new."""
        if self._first_step is None and (done := self._done()):
            self._first_step = (time.monotonic(), done)
        records = read_records(self._run)
        for number in range(self._shown, len(records)):
            self._shown += 1
            self._console.print(f"{record_line(self._job, records[number])}, {self._clock()}")
            for line in learning_lines(self._job, records[:number], records[number]):
                self._console.print(line, markup=False)

    def _table(self) -> StudyTable:
        return StudyTable(self._look(), self._console.height)

    def _clock(self) -> str:
        now, done, left = time.monotonic(), self._done(), ""
        if self._first_step and self._first_step[1] < done < 1:
            since, before = self._first_step
            left = f", about {duration((now - since) * (1 - done) / (done - before))} left"
        return f"{duration(now - self._started)} so far{left}"

    def _done(self) -> float:
        """Return the share of all sites' optimizer steps that has been made."""
        entries = [last_entry(folder) or {} for folder in self._journals.values()]
        made = sum(self._steps(entry) for entry in entries)
        return made / (len(entries) * self._job.total_steps)

    def _steps(self, entry: Record) -> int:
        """Return how many steps of the study a site has made, by the newest line of its journal."""
        a_round = self._job.federation.local_steps
        in_this = {"training": entry.get("step", 0), "waiting": a_round}.get(entry.get("phase", ""), 0)
        return int(entry.get("round", 0) * a_round + in_this)
