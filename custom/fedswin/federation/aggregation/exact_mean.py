"""A weighted mean of models that does not depend on the order in which they arrive (McMahan et al., AISTATS 2017).

Each product ``weight x value`` is exact in float64 (24 bits times at most 29). `FixedPointSum` adds the products
exactly, so the sum is a function of the set of updates alone. The mean is then formed once in float64 and rounded to
float32. What products have below 2^-73 is lost in the sum. So the mean is clamped between the smallest and the largest
of the values, which makes the mean of identical models that model, bit for bit. In a `total_order` these two do not
depend on the order of arrival either.

Memory: 6 float32 models (4 for the two 64-bit integers, the smallest and the largest), however many sites answer, and
one more for the result.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedswin.federation.aggregation.fixed_point import FixedPointSum
from fedswin.federation.aggregation.piecewise import PiecewiseRule
from fedswin.federation.aggregation.total_order import clamp, to_keys


class ExactMean(PiecewiseRule):
    """The weighted mean of a round's models.

    Args:
        shapes: the name and shape of every array of a model.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(shapes, _Piece)


class _Piece:
    def __init__(self, size: int) -> None:
        limits = np.iinfo(np.int32)
        self._sum = FixedPointSum(size)
        self._smallest = np.full(size, limits.max, np.int32)
        self._largest = np.full(size, limits.min, np.int32)
        self._weight = 0

    def add(self, values: np.ndarray, weight: int) -> None:
        self._sum.add(values.astype(np.float64) * weight)
        keys = to_keys(values)
        np.minimum(self._smallest, keys, out=self._smallest)
        np.maximum(self._largest, keys, out=self._largest)
        self._weight += weight

    def mean(self) -> np.ndarray:
        return clamp(self._sum.divided_by(self._weight).astype(np.float32), self._smallest, self._largest)
