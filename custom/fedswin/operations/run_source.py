"""How far a study is whose run folder is here: a simulation, a local run, or one that was fetched."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fedswin.config import load_job
from fedswin.errors import FedSwinError
from fedswin.operations.study_view import Source, Step, StudyView
from fedswin.outcome import read_outcome
from fedswin.provenance import noted_round, read_provenance
from fedswin.records import Record, read_records
from fedswin.run_folder import JOB
from fedswin.run_lock import is_locked, locked_since
from fedswin.status import Doing, Status, read_status
from fedswin.training.journal import last_entry

_PHASES: dict[str, Doing] = {
    "reading": "preparing",
    "scoring": "scoring",
    "training": "training",
    "waiting": "waiting",
}
"""What the phases of a journal are called."""


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
        records, journals = read_records(run), _newest_entries(run)
        status = read_status(run) or _local_status(run, journals, records)
        steps = dict(_steps(journals, status.round)) if status else {}
        best = noted_round(read_provenance(run), "best")
        return StudyView(job, records, status, ended, steps=steps, now=time.time(), best_round=best)

    return look


def _newest_entries(run: Path) -> dict[str, dict[str, Any]]:
    """Return the newest line of each site's journal; there are none where the sites' processes did not run."""
    entries = {folder.name: last_entry(folder) for folder in sorted((run / "sites").glob("*"))}
    return {site: entry for site, entry in entries.items() if entry}


def _local_status(run: Path, journals: Mapping[str, Mapping[str, Any]], records: Sequence[Record]) -> Status | None:
    """Return the status of a run that has no server to write one, by the journal of its only site."""
    if not journals:
        return None
    seconds = [site["seconds"] for record in records for site in record["sites"].values() if site.get("seconds")]
    return Status(
        round=max(entry["round"] for entry in journals.values()),
        sites={site: _PHASES[entry["phase"]] for site, entry in journals.items()},
        round_seconds=fmean(seconds) if seconds else None,
        started=locked_since(run),
    )


def _steps(journals: Mapping[str, Mapping[str, Any]], number: int) -> Iterator[tuple[str, Step]]:
    """Yield how far the sites are that train in round ``number``."""
    for site, entry in journals.items():
        if entry["phase"] == "training" and entry["round"] == number:
            yield site, Step(entry["step"], entry["of"], entry.get("loss"))
