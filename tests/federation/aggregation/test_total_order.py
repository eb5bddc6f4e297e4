"""The integer keys of float32 values against their order as numbers."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedswin.federation.aggregation.total_order import clamp, from_keys, to_keys

FLOATS = st.floats(width=32, allow_nan=False)


def key(value: float) -> int:
    return int(to_keys(np.array([value], np.float32))[0])


@given(FLOATS, FLOATS)
def test_keys_sort_as_the_values_do(one: float, other: float):
    if one != other:
        assert (key(one) < key(other)) == (one < other)
    else:
        assert (key(one) == key(other)) == (struct.pack("f", one) == struct.pack("f", other))


def test_minus_zero_comes_right_before_zero():
    assert key(-0.0) + 1 == key(0.0)


@given(st.lists(FLOATS))
def test_every_value_comes_back_from_its_key_bit_for_bit(numbers: list[float]):
    values = np.array(numbers, np.float32)
    assert from_keys(to_keys(values)).tobytes() == values.tobytes()


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=1))
def test_clamping_is_that_of_numpy(triples: list[tuple[float, float, float]]):
    values, one, other = np.array(triples, np.float32).T.copy()
    smallest, largest = np.minimum(one, other), np.maximum(one, other)
    assert np.array_equal(clamp(values, to_keys(smallest), to_keys(largest)), np.clip(values, smallest, largest))
