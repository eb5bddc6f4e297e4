"""A weighted mean of models that does not depend on the order in which they arrive.

Floating-point addition is not associative, so a running sum depends on who answered first. Here each
product ``weight x value`` is written as a fixed-point number in two 64-bit integers, whose sums are exact:

    weight x value = high x 2^-20 + low x 2^-72,    |low| <= 2^51

``high`` holds sums below 2^42 in magnitude, ``low`` sums of up to 2048 models. A product is rounded at
2^-72, by itself, before anything is added, so the sums are a function of the set of updates alone. The
mean is then formed once in float64, rounded to float32, and clamped between the smallest and the largest
of the values, so the mean of identical models is that model, bit for bit.

Memory: 6 times the float32 model (two integers, minimum, maximum), however many sites answer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedswin.federation.refusal import UpdateRefusedError
from fedswin.weights.file import mismatch

_HIGH, _LOW = 2.0**20, 2.0**72
_LIMIT = 2.0**41
_MODELS = 2048


class ExactMean:
    """Accumulates models and returns their weighted mean.

    Args:
        shapes: the expected name and shape of every array.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = dict(shapes)
        self._sums: dict[str, _Sum] = {}
        self._weight = 0
        self._models = 0

    @property
    def models(self) -> int:
        """How many models have been added."""
        return self._models

    def add(self, arrays: Mapping[str, np.ndarray], weight: int) -> None:
        """Add a model with an integer weight, such as its number of cases.

        Raises:
            UpdateRefusedError: if a key is missing or unknown, a shape or dtype differs, a value is not finite
                or too large, or the weight is not a positive integer. Nothing is added then.
        """
        self._check(arrays, weight)
        for name, array in arrays.items():
            if name not in self._sums:
                self._sums[name] = _Sum(array.shape)
            self._sums[name].add(array, weight)
        self._weight += weight
        self._models += 1

    def mean(self) -> dict[str, np.ndarray]:
        """Return the weighted mean as float32 arrays.

        Raises:
            UpdateRefusedError: if no model has been added.
        """
        if not self._models:
            raise UpdateRefusedError("no update to average")
        return {name: total.mean(self._weight) for name, total in self._sums.items()}

    def _check(self, arrays: Mapping[str, np.ndarray], weight: int) -> None:
        if isinstance(weight, bool) or not isinstance(weight, int) or weight <= 0:
            raise UpdateRefusedError(f"the weight must be a positive integer, found {weight!r}")
        if self._models >= _MODELS:
            raise UpdateRefusedError(f"more than {_MODELS} updates in one round")
        problem = mismatch(self._shapes, {name: np.shape(array) for name, array in arrays.items()})
        if problem:
            raise UpdateRefusedError(problem)
        bound = _LIMIT / (self._weight + weight)
        for name, array in arrays.items():
            if array.dtype != np.float32:
                raise UpdateRefusedError(f"{name} is {array.dtype}, expected float32")
            if not np.isfinite(array).all():
                raise UpdateRefusedError(f"{name} holds {int((~np.isfinite(array)).sum())} values that are not finite")
            if array.size and np.abs(array).max() >= bound:
                raise UpdateRefusedError(f"{name} holds a value of {np.abs(array).max():.3g}, the limit is {bound:.3g}")


class _Sum:
    """The exact weighted sum of one array, with its elementwise minimum and maximum."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._high = np.zeros(shape, np.int64)
        self._low = np.zeros(shape, np.int64)
        self._smallest = np.full(shape, np.inf, np.float32)
        self._largest = np.full(shape, -np.inf, np.float32)

    def add(self, array: np.ndarray, weight: int) -> None:
        product = array.astype(np.float64) * weight  # exact: 24 bits times at most 29
        high = np.rint(product * _HIGH)
        self._high += high.astype(np.int64)
        self._low += np.rint((product - high / _HIGH) * _LOW).astype(np.int64)
        # Unlike numpy's minimum and maximum, these order the two zeros, so the order of arrival cannot show.
        negative = np.signbit(array)
        below = (array < self._smallest) | ((array == self._smallest) & negative)
        above = (array > self._largest) | ((array == self._largest) & ~negative)
        np.copyto(self._smallest, array, where=below)
        np.copyto(self._largest, array, where=above)

    def mean(self, weight: int) -> np.ndarray:
        carry = np.rint(self._low * (_HIGH / _LOW)).astype(np.int64)  # keeps ``low`` small beside ``high``
        high = self._high + carry
        low = self._low - carry * int(_LOW / _HIGH)
        mean = high / (_HIGH * weight) + low / (_LOW * weight)
        identical = self._smallest.view(np.int32) == self._largest.view(np.int32)
        return np.where(identical, self._smallest, np.clip(mean.astype(np.float32), self._smallest, self._largest))
