"""How costs grow, as one SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from fedswin.benchmarks.row import Row
from fedswin.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, line_chart
from fedswin.templates import templates_of

_ACROSS = 2
_HEAD, _KEY = 26, 18
"""Pixels above a chart for its title, and below it for each line of its key."""

_Lines = dict[str, dict[int, float]]
"""The cost at each place, of each line of a chart."""


def draw(rows: Sequence[Row]) -> str:
    """Return an SVG with a chart of every cost that was measured at several places."""
    charts = _charts(rows)
    cell = HEIGHT + _HEAD + _KEY * max((len(chart.lines) for chart in charts), default=0)
    return (
        templates_of("fedswin.benchmarks")
        .get_template("growth.svg.j2")
        .render(
            charts=charts,
            across=_ACROSS,
            cell={"width": WIDTH, "height": cell, "head": _HEAD, "key": _KEY},
            down=-(-len(charts) // _ACROSS),
            frame={"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM, "height": HEIGHT},
        )
    )


def _charts(rows: Sequence[Row]) -> list[Chart]:
    places: dict[tuple[str, str, str], _Lines] = {}
    for row in rows:
        for growth in row.growths if row.ours else ():
            lines = places.setdefault((growth.chart, growth.axis, growth.unit), {})
            for name, samples in ((growth.ours, row.ours), (row.against, row.other)):
                lines.setdefault(name, {})[growth.x] = growth.cost(median(samples))
    growing = {
        names: lines for names, lines in places.items() if len({x for costs in lines.values() for x in costs}) > 1
    }
    charts = (_chart(*names, lines) for names, lines in growing.items())
    return [chart for chart in charts if chart]


def _chart(title: str, axis: str, unit: str, lines: Mapping[str, Mapping[int, float]]) -> Chart | None:
    series = [
        Series(name, sorted(costs), [costs[x] for x in sorted(costs)], style)
        for style, (name, costs) in enumerate(lines.items())
    ]
    return line_chart(title, axis, unit, series)
