"""Ratios pair by pair, and bars that they meet or miss."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedswin.benchmarks.row import Bar, Row, attempted
from fedswin.errors import FedSwinError


def row(ours: list[float], other: list[float]) -> Row:
    return Row("step", "a step", "speed", "views/s", ours, "plain", other)


def test_a_ratio_is_of_neighbours() -> None:
    """The machine was busy during the second pair: the ratio of the medians would be 3, of the pairs it is 2."""
    assert row([4.0, 1.0, 6.0], [2.0, 0.5, 3.0]).ratios == [2.0, 2.0, 2.0]
    assert row([4.0], []).ratios == []
    with pytest.raises(ValueError, match="shorter"):
        _ = row([4.0, 1.0], [2.0]).ratios


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (Bar("ratio", 2.0, at_least=True), True),
        (Bar("ratio", 2.1, at_least=True), False),
        (Bar("ratio", 2.0, at_least=False), True),
        (Bar("ratio", 1.9, at_least=False), False),
        (Bar("ours", 4.0, at_least=True), True),
        (Bar("ours", 3.9, at_least=False), False),
    ],
)
def test_a_bar_is_met_by_the_median(bar: Bar, met: bool) -> None:
    assert row([4.0, 1.0, 90.0], [2.0, 1.0, 1.0]).meets(bar) is met


def test_what_was_not_measured_neither_meets_nor_misses_a_bar() -> None:
    assert Row("step", "a step", not_measured="no GPU").meets(Bar("ours", 1.0, at_least=True)) is None


def test_what_fails_leaves_what_was_measured_and_says_why() -> None:
    def measuring() -> Iterator[Row]:
        yield row([1.0], [2.0])
        raise FedSwinError("Its process has ended.")

    first, last = attempted("step", "a larger step", measuring())
    assert first == row([1.0], [2.0])
    assert last == Row("step", "a larger step", not_measured="Its process has ended.")
