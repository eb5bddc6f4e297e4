"""What a run's records come to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedswin.experiments.work import dice_area


def records(*dice: float | None) -> list[dict[str, Any]]:
    return [{"round": n, "global": {} if value is None else {"dice": value}} for n, value in enumerate(dice)]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_the_area_is_that_of_the_trapezoidal_rule_over_a_run_of_length_one(dice: list[float]) -> None:
    xs = np.linspace(0, 1, len(dice))
    expected = sum((xs[n + 1] - xs[n]) * (dice[n] + dice[n + 1]) / 2 for n in range(len(dice) - 1))
    assert dice_area(records(*dice)) == pytest.approx(expected)


def test_a_line_has_half_its_end_and_what_is_learned_at_once_has_nearly_all() -> None:
    assert dice_area(records(0.0, 0.2, 0.4, 0.6, 0.8)) == pytest.approx(0.4)
    assert dice_area(records(0.0, 0.8, 0.8, 0.8, 0.8)) == pytest.approx(0.7)


@pytest.mark.parametrize("dice", [(), (0.5,), (0.1, None, 0.5), (None, None)])
def test_without_a_score_of_each_model_there_is_none(dice: tuple[float | None, ...]) -> None:
    assert dice_area(records(*dice)) is None
