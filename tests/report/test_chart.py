"""The geometry of charts: ticks, gaps, and outlines that survive thinning."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedswin.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, line_chart, nice_ticks


def draw(*series: Series, xs: list[int] | None = None) -> Chart:
    chart = line_chart("A title", "round", "loss", xs or list(range(len(series[0].values))), series)
    assert chart
    return chart


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_numbers_within_the_range(low: float, length: float) -> None:
    ticks = nice_ticks(low, low + length)
    steps = np.diff(ticks)
    assert 2 <= len(ticks) <= 7
    assert low - 1e-6 * length <= ticks[0]
    assert ticks[-1] <= low + length * (1 + 1e-6)
    assert steps == pytest.approx(steps[0])
    assert f"{steps[0]:.0e}"[0] in "125"


def test_rounds_have_whole_ticks() -> None:
    assert nice_ticks(0, 2, whole=True) == [0, 1, 2]
    assert nice_ticks(0, 900, whole=True) == [0, 200, 400, 600, 800]


def test_a_line_goes_where_its_values_are() -> None:
    """Values on a line in the numbers are on a line in the picture, from edge to edge."""
    chart = draw(Series("a", [0.2, 0.4, 0.6]))
    found = points(chart.lines[0].path)
    assert [x for x, _ in found] == pytest.approx([LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT])
    assert found[1][1] == pytest.approx((found[0][1] + found[2][1]) / 2, abs=0.1)
    assert HEIGHT - BOTTOM > found[0][1] > found[2][1] > TOP
    tick = next(tick for tick in chart.y_ticks if tick.text == "0.4")
    assert tick.at == pytest.approx(found[1][1], abs=0.1)


def test_a_missing_value_is_a_gap() -> None:
    chart = draw(Series("a", [1.0, 2.0, None, 3.0, None, 4.0]))
    assert re.sub(r"[\d. ]+", "", chart.lines[0].path) == "MLMhMh"
    assert [row[1] for row in chart.rows] == ["1.00", "2.00", "–", "3.00", "–", "4.00"]


def test_many_values_are_thinned_and_keep_their_outline() -> None:
    values = [float(np.sin(number / 50)) for number in range(5000)]
    values[1234], values[4321] = 3.0, -3.0
    chart = draw(Series("a", values))
    found = [y for _, y in points(chart.lines[0].path)]
    few = [y for _, y in points(draw(Series("a", [3.0, -3.0])).lines[0].path)]
    assert len(found) < 500
    assert (min(found), max(found)) == (pytest.approx(few[0], abs=0.1), pytest.approx(few[1], abs=0.1))
    assert chart.thinned
    assert [chart.rows[0][0], chart.rows[-1][0]] == ["0", "4999"]


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [1.0, 1.0], [-2.0]])
def test_one_value_is_a_chart_too(values: list[float]) -> None:
    chart = draw(Series("a", values))
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in points(chart.lines[0].path))


def test_a_share_has_no_axis_beyond_one() -> None:
    chart = draw(Series("a", [0.1, 0.99]))
    assert all(0 <= float(tick.text) <= 1 for tick in chart.y_ticks)


def test_a_series_without_a_value_is_left_out() -> None:
    chart = draw(Series("a", [1.0, 2.0]), Series("b", [None, None]))
    assert [line.name for line in chart.lines] == ["a"]
    assert line_chart("", "round", "loss", [0], [Series("b", [None])]) is None


def test_the_global_model_lies_above_the_sites() -> None:
    chart = draw(Series("all", [1.0, 2.0]), Series("a", [1.0, 2.0], 0))
    assert [line.name for line in chart.lines] == ["a", "all"]
    assert chart.columns == ["round", "all", "a"]
