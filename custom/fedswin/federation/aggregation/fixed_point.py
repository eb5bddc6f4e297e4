"""Sums of floating-point numbers that are exact, so that they do not depend on the order of the terms.

Floating-point addition is not associative. Here each term is first written as two integers,

    term = high x 2^-20 + low x 2^-72,    |term| < 2^31,    |high| <= 2^51,    |low| <= 2^51

by itself: both are the nearest integers, and what is left, 2^-73 or less, is dropped. Scaling by a power of two and the
difference ``term - high x 2^-20`` are exact in float64. Then integers are added. The sums of 2048 terms stay below
2^62 in magnitude, so nothing overflows, and a sum is a function of the set of its terms alone.
"""

from __future__ import annotations

import numpy as np

MAX_TERM = 2.0**31
"""Every term must be smaller than this in magnitude."""
MAX_TERMS = 2048
"""So many terms may be added to one sum."""

_HIGH, _LOW = 2.0**20, 2.0**72
_LOW_BITS = 52  # of ``low`` that make one unit of ``high``


class FixedPointSum:
    """The exact sums of ``size`` places, in 16 bytes a place."""

    def __init__(self, size: int) -> None:
        self._high = np.zeros(size, np.int64)
        self._low = np.zeros(size, np.int64)

    def add(self, terms: np.ndarray) -> None:
        """Add ``terms`` (float64, ``[size]``), each below `MAX_TERM` in magnitude; at most `MAX_TERMS` times."""
        high = np.rint(terms * _HIGH)
        self._high += high.astype(np.int64)
        self._low += np.rint((terms - high / _HIGH) * _LOW).astype(np.int64)

    def divided_by(self, number: int) -> np.ndarray:
        """Return the sums divided by ``number`` (float64, ``[size]``), off by a few units in the last place at most."""
        carry = (self._low + (1 << _LOW_BITS - 1)) >> _LOW_BITS  # so that ``low`` is small beside ``high``
        high, low = self._high + carry, self._low - (carry << _LOW_BITS)
        return high / (_HIGH * number) + low / (_LOW * number)
