"""The result for people: one table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median

from rich import box
from rich.markup import escape
from rich.table import Column, Table

from fedswin.benchmarks.row import Bar, Row
from fedswin.report.wording import significant

_VERDICTS = {True: "met", False: "missed", None: ""}


def render(rows: Sequence[Row], *, quick: bool) -> Table:
    """Return the table.

    Args:
        rows: what was measured.
        quick: whether everything was tiny, so that no bar can be called met or missed.
    """
    mine, bar = Column("FedSwin", justify="right"), Column("bar", no_wrap=True)
    table = Table("measured", mine, "compared with", "ratio", bar, box=box.SIMPLE_HEAD)
    for (kind, subject), group in groupby(rows, lambda row: (row.kind, row.subject)):
        table.add_row(f"[bold]{kind}[/]: {escape(subject)}")
        for row in group:
            table.add_row(*map(escape, _cells(row, quick)))
    return table


def _cells(row: Row, quick: bool) -> list[str]:
    if row.not_measured:
        return [f"  {row.figure}", "not measured", row.not_measured]
    bars = [_bar(bar, None if quick else row.meets(bar)) for bar in row.bars]
    other = f"{_figure(row.other, row.unit)}, {row.against}" if row.other else ""
    return [f"  {row.figure}", _figure(row.ours, row.unit), other, _ratio(row.ratios), "\n".join(bars)]


def _figure(samples: Sequence[float], unit: str) -> str:
    return f"{significant(median(samples))} {unit}".strip()


def _ratio(ratios: Sequence[float]) -> str:
    """Return the median, and the spread if there is one."""
    if len(ratios) < 2 or min(ratios) == max(ratios):
        return "".join(map(significant, ratios[:1]))
    return f"{significant(median(ratios))} ({significant(min(ratios))}–{significant(max(ratios))})"


def _bar(bar: Bar, met: bool | None) -> str:
    sign = "≥" if bar.at_least else "≤"
    name = "ratio" if bar.of == "ratio" else "FedSwin"
    return f"{name} {sign} {significant(bar.limit)} {_VERDICTS[met]}".strip()
