"""Answers of sites, drawn by hypothesis, for the tests of the aggregation rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedswin.federation.aggregation.rules import Rule

VALUES = st.floats(-1000, 1000, width=32)
"""Among them zeros of both signs, and values too small for the fixed-point sums."""
Answer = tuple[np.ndarray, int]
"""A site's values and its weight."""


def answers(least: int = 1, most: int = 7) -> st.SearchStrategy[list[Answer]]:
    """Draw the answers of ``least`` to ``most`` sites, six values each."""
    return st.lists(
        st.tuples(arrays(np.float32, 6, elements=VALUES), st.integers(1, 1000)), min_size=least, max_size=most
    )


def aggregate(rule: Rule, models: Sequence[Answer]) -> np.ndarray:
    """Return what ``rule`` makes of models that have one array, called ``w``."""
    for values, weight in models:
        rule.add({"w": values}, weight)
    return rule.mean()["w"]
