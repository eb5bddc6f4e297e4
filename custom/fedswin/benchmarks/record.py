"""The result for scripts: every sample, and the machine that it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

from fedswin.benchmarks.row import Row
from fedswin.benchmarks.setup import NO_GPU, Setup
from fedswin.machine import machine
from fedswin.provenance import versions


def record(rows: Sequence[Row], setup: Setup) -> dict[str, Any]:
    """Return the benchmark as plain values; ``--data`` is told by whether there was one, never by its path.

    So an error with a site's own case is told of on the screen alone.
    """
    return {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "threads": setup.threads,
        "repeats": setup.repeats,
        "quick": setup.quick,
        "data": "phantoms" if setup.data is None else "a site",
        "rows": [
            {
                **asdict(_anonymous(row, setup)),
                "ratios": row.ratios,
                "met": None if setup.quick else [row.meets(bar) for bar in row.bars],
            }
            for row in rows
        ],
    }


def _anonymous(row: Row, setup: Setup) -> Row:
    return replace(row, not_measured="it failed") if row.not_measured not in ("", NO_GPU) and setup.data else row
