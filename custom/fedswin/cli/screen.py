"""Where commands print, and the closing lines that several share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from fedswin.operations.jobs import JobEntry

console = Console(highlight=False, soft_wrap=True)
stderr = Console(highlight=False, soft_wrap=True, stderr=True)


def print_outcome(out: Path) -> None:
    """Say where a run is, and how to look at it."""
    console.print(f"Done. Models, metrics and curves are in {out}", markup=False)
    console.print(f"Look at the curves: tensorboard --logdir {out}", markup=False)


def print_json(content: Any) -> None:
    """Print a result for scripts, alone on stdout."""
    print(json.dumps(content, indent=2))


def print_jobs(jobs: Sequence[JobEntry]) -> None:
    """Print a table of a federation's jobs."""
    table = Table("job", "name", "status", "submitted", "by", "study")
    for job in jobs:
        table.add_row(
            job.id, job.name, job.status, job.submitted[:16], job.by, "" if job.study == job.id else job.study
        )
    console.print(table)
