"""The result for people: one table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import median

from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.table import Table

from fedswin.benchmarks.row import Bar, Row
from fedswin.report.wording import significant

_COLUMNS: tuple[tuple[int, JustifyMethod], ...] = (
    (19, "left"),
    (13, "right"),
    (22, "left"),
    (20, "left"),
    (23, "left"),
)
"""The widths, in proportion, and to which side the text is set."""
_VERDICTS = {True: "met", False: "missed", None: ""}


def render(rows: Sequence[Row], *, quick: bool) -> Group:
    """Return the table: a heading for each thing that was measured, and its figures below.

    Args:
        rows: what was measured.
        quick: whether everything was tiny, so that no bar can be called met or missed.
    """
    head = _part()
    head.add_row(*(f"[bold]{title}[/]" for title in ("measured", "FedSwin", "compared with", "ratio", "bar")))
    parts: list[RenderableType] = [head]
    for (kind, subject), group in groupby(rows, lambda row: (row.kind, row.subject)):
        part = _part()
        for row in group:
            part.add_row(*map(escape, _cells(row, quick)))
        parts += [f"\n[bold]{kind}[/]: {escape(subject)}", part]
    return Group(*parts)


def _part() -> Table:
    """Return an empty part, whose columns are as wide as those of all others."""
    part = Table.grid(padding=(0, 1), expand=True)
    for width, justify in _COLUMNS:
        part.add_column(ratio=width, justify=justify)
    return part


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
