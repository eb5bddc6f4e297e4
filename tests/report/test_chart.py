"""The geometry of charts: ticks, gaps, and outlines that survive thinning."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedswin.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, line_chart, nice_ticks


def series(name: str, values: Sequence[float | None], style: int | None = None) -> Series:
    return Series(name, range(len(values)), values, style)


def draw(*series: Series) -> Chart:
    chart = line_chart("A title", "round", "loss", series)
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
    chart = draw(series("a", [0.2, 0.4, 0.6]))
    found = points(chart.lines[0].path)
    assert [x for x, _ in found] == pytest.approx([LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT])
    assert found[1][1] == pytest.approx((found[0][1] + found[2][1]) / 2, abs=0.1)
    assert HEIGHT - BOTTOM > found[0][1] > found[2][1] > TOP
    tick = next(tick for tick in chart.y_ticks if tick.text == "0.4")
    assert tick.at == pytest.approx(found[1][1], abs=0.1)


def test_a_missing_value_is_a_gap() -> None:
    chart = draw(series("a", [1.0, 2.0, None, 3.0, None, 4.0]))
    assert re.sub(r"[\d. ]+", "", chart.lines[0].path) == "MLMhMh"
    assert [row[1] for row in chart.rows] == ["1.00", "2.00", "–", "3.00", "–", "4.00"]


def test_lines_over_other_places_do_not_break_each_other() -> None:
    """Steps of 10 and of 7: the place of a point is that of its own step, and nobody's gap is another's."""
    tens = Series("tens", [0, 10, 20], [1.0, 2.0, 3.0], 0)
    chart = draw(tens, Series("sevens", [0, 7, 14, 21], [1.0, None, 2.0, 3.0], 1))
    assert [re.sub(r"[\d. ]+", "", line.path) for line in chart.lines] == ["MLL", "MhML"]
    places = [LEFT + (WIDTH - RIGHT - LEFT) * x / 21 for x in (0, 10, 20)]
    assert [x for x, _ in points(chart.lines[0].path)] == pytest.approx(places, abs=0.1)
    assert chart.rows == [
        ["0", "1.00", "1.00"],
        ["7", "–", "–"],
        ["10", "2.00", "–"],
        ["14", "–", "2.00"],
        ["20", "3.00", "–"],
        ["21", "–", "3.00"],
    ]


@given(st.lists(st.floats(), min_size=1, max_size=4))
@example([1.75e308])
@example([-1.75e308, 1.75e308])
@example([0.0, 5e-324])
@example([0.0, 3e-323])
@example([1.0, 1.0000000000000002])
@example([1e299, 1.0000000000000002e299])
def test_no_value_that_a_site_may_send_ends_the_report(values: list[float]) -> None:
    chart = line_chart("A title", "round", "loss", [series("a", values)])
    assert chart is not None or all(not abs(value) < 1e300 for value in values)
    if chart:
        assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in points(chart.lines[0].path))
        assert 2 <= len({tick.text for tick in chart.y_ticks}) == len(chart.y_ticks) <= 8


def test_what_has_no_place_on_the_scale_is_a_gap() -> None:
    chart = draw(series("a", [1.0, 1.75e308, 2.0, float("inf"), 3.0]))
    assert [row[1] for row in chart.rows] == ["1.00", "–", "2.00", "–", "3.00"]
    assert chart.y_ticks[-1].text == "3"


def test_many_values_are_thinned_and_keep_their_outline() -> None:
    values = [float(np.sin(number / 50)) for number in range(5000)]
    values[1234], values[4321] = 3.0, -3.0
    chart = draw(series("a", values))
    found = [y for _, y in points(chart.lines[0].path)]
    few = [y for _, y in points(draw(series("a", [3.0, -3.0])).lines[0].path)]
    assert len(found) < 500
    assert (min(found), max(found)) == (pytest.approx(few[0], abs=0.1), pytest.approx(few[1], abs=0.1))
    assert chart.thinned
    assert [chart.rows[0][0], chart.rows[-1][0]] == ["0", "4999"]


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [1.0, 1.0], [-2.0]])
def test_one_value_is_a_chart_too(values: list[float]) -> None:
    chart = draw(series("a", values))
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in points(chart.lines[0].path))


def test_a_share_has_no_axis_beyond_one() -> None:
    chart = draw(series("a", [0.1, 0.99]))
    assert all(0 <= float(tick.text) <= 1 for tick in chart.y_ticks)


def test_a_series_without_a_value_is_left_out() -> None:
    chart = draw(series("a", [1.0, 2.0]), series("b", [None, None]))
    assert [line.name for line in chart.lines] == ["a"]
    assert line_chart("", "round", "loss", [series("b", [None])]) is None


def test_the_global_model_lies_above_the_sites() -> None:
    chart = draw(series("all", [1.0, 2.0]), series("a", [1.0, 2.0], 0))
    assert [line.name for line in chart.lines] == ["a", "all"]
    assert chart.columns == ["round", "all", "a"]
