"""The trimmed mean against scipy's, and against sites that send what they like."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import trim_mean

from federation.aggregation.answers import Answer, aggregate, answers
from fedswin.federation.aggregation.trimmed_mean import TrimmedMean

RESOLUTION = 2.0**-72
"""Of the fixed-point sum."""


@settings(deadline=None)
@given(st.integers(1, 3), st.data())
def test_it_is_the_trimmed_mean_of_scipy_whatever_the_weights(trim: int, data: st.DataObject):
    models = data.draw(answers(least=2 * trim + 1, most=2 * trim + 4))
    stacked = np.stack([values for values, _ in models]).astype(np.float64)
    expected = trim_mean(stacked, (trim + 0.5) / len(models), axis=0)
    assert np.allclose(aggregate(TrimmedMean({"w": (6,)}, trim), models), expected, rtol=1e-7, atol=1e-12)


@settings(deadline=None)
@given(st.integers(1, 2), st.data(), st.randoms())
def test_as_many_bad_sites_as_are_trimmed_cannot_leave_the_range_of_the_good_ones(
    trim: int, data: st.DataObject, shuffler: random.Random
):
    good: list[Answer] = data.draw(answers(least=trim + 1, most=6))
    anything = arrays(np.float32, 6, elements=st.floats(-(2.0**30), 2.0**30, width=32))
    models = good + [(data.draw(anything), 1) for _ in range(trim)]
    shuffler.shuffle(models)
    found = aggregate(TrimmedMean({"w": (6,)}, trim), models)
    stacked = np.stack([values for values, _ in good])
    assert (found >= stacked.min(axis=0) - RESOLUTION).all()
    assert (found <= stacked.max(axis=0) + RESOLUTION).all()


@given(arrays(np.float32, (5, 4), elements=st.integers(-(2**24), 2**24).map(lambda number: number / 1024)))
def test_with_all_but_one_trimmed_it_is_the_median_to_the_last_bit(values: np.ndarray):
    found = aggregate(TrimmedMean({"w": (4,)}, 2), [(row, 1) for row in values])
    assert np.array_equal(found, np.median(values, axis=0))
