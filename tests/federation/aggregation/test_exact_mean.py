"""The mean against rational arithmetic: exact, in any order, and a fixed point of identical models."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedswin.federation.aggregation.exact_mean import ExactMean
from fedswin.federation.refusal import UpdateRefusedError

VALUES = st.floats(-1000, 1000, width=32)
MODELS = st.lists(st.tuples(arrays(np.float32, 6, elements=VALUES), st.integers(1, 1000)), min_size=1, max_size=7)


def mean_of(models: list[tuple[np.ndarray, int]]) -> np.ndarray:
    mean = ExactMean({"w": models[0][0].shape})
    for array, weight in models:
        mean.add({"w": array}, weight)
    return mean.mean()["w"]


@settings(deadline=None)
@given(MODELS, st.randoms())
def test_the_order_of_arrival_does_not_matter(models, shuffler: random.Random):
    shuffled = list(models)
    shuffler.shuffle(shuffled)
    assert mean_of(models).tobytes() == mean_of(shuffled).tobytes()


@settings(deadline=None)
@given(MODELS)
def test_it_is_the_rational_mean_to_the_last_place(models):
    total = sum(weight for _, weight in models)
    for place, found in enumerate(mean_of(models)):
        exact = sum(Fraction(float(array[place])) * weight for array, weight in models) / total
        tolerance = max(float(np.spacing(np.float32(abs(float(exact))))), 2.0**-70)
        assert abs(float(found) - float(exact)) <= tolerance


@settings(deadline=None)
@given(
    arrays(np.float32, 8, elements=st.floats(width=32, min_value=-1e5, max_value=1e5)),
    st.lists(st.integers(1, 500), min_size=1, max_size=9),
)
def test_the_mean_of_identical_models_is_that_model_bit_for_bit(array, weights):
    assert mean_of([(array, weight) for weight in weights]).tobytes() == array.tobytes()


def test_zeros_of_both_signs_give_the_same_bits_in_any_order():
    zeros = [(np.array([0.0], np.float32), 1), (np.array([-0.0], np.float32), 2)]
    assert mean_of(zeros).tobytes() == mean_of(zeros[::-1]).tobytes()


@settings(deadline=None)
@given(MODELS)
def test_the_mean_lies_between_the_smallest_and_the_largest(models):
    stacked = np.stack([array for array, _ in models])
    found = mean_of(models)
    assert (found >= stacked.min(axis=0)).all()
    assert (found <= stacked.max(axis=0)).all()


@pytest.mark.parametrize(
    ("arrays_", "weight", "reason"),
    [
        ({"w": np.full(3, np.nan, np.float32)}, 1, "w holds 3 values that are not finite"),
        ({"w": np.zeros(4, np.float32)}, 1, r"w has the shape \[4\], expected \[3\]"),
        ({"v": np.zeros(3, np.float32)}, 1, "missing w; unknown v"),
        ({"w": np.zeros(3, np.float64)}, 1, "w is float64"),
        ({"w": np.full(3, 1e13, np.float32)}, 1, "the limit is"),
        ({"w": np.zeros(3, np.float32)}, 0, "positive integer, found 0"),
        ({"w": np.zeros(3, np.float32)}, 2.5, "positive integer, found 2.5"),
        ({"w": np.zeros(3, np.float32)}, True, "positive integer, found True"),
    ],
)
def test_a_bad_update_is_refused_with_its_reason_and_changes_nothing(arrays_, weight, reason):
    mean = ExactMean({"w": (3,)})
    good = np.array([1, 2, 3], np.float32)
    mean.add({"w": good}, 5)
    with pytest.raises(UpdateRefusedError, match=reason):
        mean.add(arrays_, weight)
    assert mean.models == 1
    assert np.array_equal(mean.mean()["w"], good)


def test_without_an_update_there_is_no_mean():
    with pytest.raises(UpdateRefusedError, match="no update"):
        ExactMean({"w": (3,)}).mean()
