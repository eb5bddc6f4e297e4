"""How sizes spread along R, A and S."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """The smallest, the median and the largest of some numbers."""

    smallest: float
    median: float
    largest: float


def spreads(rows: Sequence[Sequence[float]]) -> dict[str, Spread]:
    """Return the spread along ``R``, ``A`` and ``S`` of sizes given in that order, a row each; nothing if none is."""
    columns = zip("RAS", zip(*rows, strict=True), strict=False)
    return {axis: Spread(min(values), median(values), max(values)) for axis, values in columns}
