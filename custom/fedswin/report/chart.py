"""Line charts as geometry: where the axes, ticks and lines of an SVG go. What they look like is the template's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedswin.report.wording import significant

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 40
_MOST_POINTS = 240
_MOST_DOTS = 40
_MOST_ROWS = 40
_TOO_LARGE = 1e300
_TOO_SMALL = 1e-300  # of a range, so that its parts are numbers, too


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: what it is of.
        xs: ascending whole numbers, such as rounds.
        values: a value for each x; ``None`` leaves a gap.
        style: the number of its colour and dashes; ``None`` is the thick line of the global model.
    """

    name: str
    xs: Sequence[int]
    values: Sequence[float | None]
    style: int | None = None


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, at a place in the picture."""

    at: float
    text: str


@dataclass(frozen=True)
class Dot:
    """A point that says what it is when it is pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """A series in the picture: the path of an SVG, and its dots if there are few."""

    name: str
    style: int | None
    path: str
    dots: Sequence[Dot]


@dataclass(frozen=True)
class Chart:
    """A chart, ready for the template.

    Attributes:
        title: what it shows.
        x_label: the name of the horizontal axis, with its unit.
        y_label: the name of the vertical axis, with its unit.
        lines: the lines, the thick one last, so that it lies above.
        x_ticks: marks on the horizontal axis.
        y_ticks: marks on the vertical axis.
        mark: where the best model is on the horizontal axis, if it is marked.
        columns: the heads of the table behind the chart.
        rows: its rows.
        thinned: whether rows were left out of the table.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    mark: float | None
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    thinned: bool


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    mark: int | None = None,
) -> Chart | None:
    """Return a chart of ``series``; ``None`` if no series has a value that can be drawn.

    Args:
        title: what it shows.
        x_label: the name of the horizontal axis, with its unit.
        y_label: the name of the vertical axis, with its unit.
        series: the lines; those without a value are left out.
        mark: the x of the best model.
    """
    series = [one for one in map(_drawable, series) if any(value is not None for value in one.values)]
    values = [value for one in series for value in one.values if value is not None]
    if not values:
        return None
    xs = sorted({x for one in series for x in one.xs})
    across, down = _across(xs), _down(values)
    lines = [_line(one, x_label, across, down) for one in series]
    columns = [dict(zip(one.xs, one.values, strict=True)) for one in series]
    kept = _spread(len(xs))
    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        lines=sorted(lines, key=lambda line: line.style is None),
        x_ticks=[Tick(across(value), f"{value:.0f}") for value in nice_ticks(across.low, across.high, whole=True)],
        y_ticks=[Tick(down(value), _tick_text(value)) for value in nice_ticks(down.low, down.high)],
        mark=None if mark is None else across(mark),
        columns=[x_label, *(one.name for one in series)],
        rows=[[str(xs[row]), *(significant(column.get(xs[row])) for column in columns)] for row in kept],
        thinned=len(kept) < len(xs),
    )


def nice_ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return about six multiples of 1, 2 or 5 times a power of ten between ``low`` and ``high``, which differ.

    Args:
        low: the least tick that there may be.
        high: the largest.
        whole: allow whole numbers only.
    """
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [number * step for number in numbers]


def _drawable(series: Series) -> Series:
    """Leave out what has no place on a scale: what is not finite, or so large that a difference may not be."""
    values = [value if value is not None and abs(value) < _TOO_LARGE else None for value in series.values]
    return replace(series, values=values)


def _across(xs: Sequence[int]) -> _Scale:
    low, high = xs[0], xs[-1]
    return _Scale(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)


def _down(values: Sequence[float]) -> _Scale:
    """Leave a little room above and below, but do not leave the range of a score."""
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    ways = (0.06 * (high - low), 0.1 * largest, 1.0)
    room = next(room for room in ways if room > max(_TOO_SMALL, 1e-5 * largest))  # so that the ticks read differently
    bottom = 0.0 if low >= 0 and low - room < 0 else low - room
    top = 1.0 if high <= 1 and high + room > 1 else high + room
    return _Scale(bottom, top, HEIGHT - BOTTOM, TOP)


def _line(series: Series, x_label: str, across: _Scale, down: _Scale) -> Line:
    pairs = list(zip(series.xs, series.values, strict=True))
    points = [None if value is None else (across(x), down(value)) for x, value in pairs]
    known = [(x, value) for x, value in pairs if value is not None]
    few = known if len(known) <= _MOST_DOTS else []
    dots = [Dot(across(x), down(v), f"{series.name}, {x_label} {x}: {significant(v)}") for x, v in few]
    return Line(series.name, series.style, _path(_thinned(points)), dots)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Return an SVG path that breaks at each gap; a point between two gaps is drawn as a short dash."""
    parts: list[str] = []
    pen_is_down = False
    for number, point in enumerate(points):
        if point is None:
            pen_is_down = False
            continue
        parts.append(f"{'L' if pen_is_down else 'M'}{point[0]:g} {point[1]:g}")
        if not pen_is_down and (number + 1 == len(points) or points[number + 1] is None):
            parts.append("h.1")
        pen_is_down = True
    return "".join(parts)


def _thinned(points: Sequence[tuple[float, float] | None]) -> list[tuple[float, float] | None]:
    """Keep of many points those that make the line's outline: of each part the ends, the highest and the lowest."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    length = math.ceil(4 * len(points) / _MOST_POINTS)
    thin: list[tuple[float, float] | None] = []
    for start in range(0, len(points), length):
        part = range(start, min(start + length, len(points)))
        gaps = [number for number in part if points[number] is None]
        known = [(point[1], number) for number in part if (point := points[number])]
        ends = {min(known)[1], max(known)[1], known[0][1], known[-1][1]} if known else set()
        thin += [points[number] for number in sorted({*ends, *gaps[:1]})]
    return thin


def _spread(length: int) -> list[int]:
    """Return which rows of a long table are shown: evenly spread, with the first and the last."""
    if length <= _MOST_ROWS:
        return list(range(length))
    return sorted({round(number * (length - 1) / (_MOST_ROWS - 1)) for number in range(_MOST_ROWS)})


def _tick_text(value: float) -> str:
    return f"{value:.6g}".replace("-", "−").replace("e+", "e")
