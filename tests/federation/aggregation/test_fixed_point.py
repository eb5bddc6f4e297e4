"""The fixed-point sum against rational arithmetic."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedswin.federation.aggregation.fixed_point import MAX_TERM, MAX_TERMS, FixedPointSum

LARGEST = float(np.nextafter(MAX_TERM, 0))
TERMS = st.lists(st.floats(-LARGEST, LARGEST), min_size=1, max_size=20)


def total(terms: list[float], divisor: int = 1) -> float:
    fixed = FixedPointSum(1)
    for term in terms:
        fixed.add(np.array([term]))
    return float(fixed.divided_by(divisor)[0])


@given(TERMS, st.integers(1, 10**9))
def test_it_is_the_rational_sum_up_to_a_rounding_and_the_resolution(terms: list[float], divisor: int):
    exact = sum(map(Fraction, terms)) / divisor
    tolerance = 4 * np.spacing(abs(float(exact))) + len(terms) * 2.0**-73 / divisor
    assert abs(total(terms, divisor) - exact) <= tolerance


@given(TERMS, st.randoms())
def test_the_order_of_the_terms_changes_no_bit(terms: list[float], shuffler: random.Random):
    shuffled = list(terms)
    shuffler.shuffle(shuffled)
    assert total(terms).hex() == total(shuffled).hex()


def test_small_terms_survive_beside_large_ones_that_cancel():
    small = 2.0**-72
    assert total([LARGEST, small, -LARGEST]) == small
    assert sum([LARGEST, small, -LARGEST]) == 0


def test_what_low_parts_of_many_terms_add_up_to_is_cancelled_exactly():
    half = 2.0**-21 - 2.0**-72  # just too small for ``high``
    assert total([half] * 1024 + [-(2.0**-20)] * 512 + [2.0**-72]) == -1023 * 2.0**-72


def test_the_most_terms_of_the_largest_size_fit():
    for sign in (1, -1):
        assert total([sign * LARGEST] * MAX_TERMS) == sign * LARGEST * MAX_TERMS
        half = sign * (2.0**-21 - 2.0**-72)
        assert total([half] * MAX_TERMS) == half * MAX_TERMS
