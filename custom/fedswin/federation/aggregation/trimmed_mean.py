"""The coordinate-wise trimmed mean (Yin et al., "Byzantine-Robust Distributed Learning", ICML 2018).

Of the values that the sites send for a parameter, the ``trim`` smallest and the ``trim`` largest are left out, and the
rest are averaged, all sites alike. So ``trim`` sites, whatever they send, cannot move a parameter out of the range of
the others' values, up to the resolution of `FixedPointSum`.

Models are taken in one at a time. Each value is sorted in among the ``trim`` smallest so far. The one that they push
out is sorted in among the ``trim`` largest of the others. The one that these push out lies between the two groups for
good, and is added to a `FixedPointSum`. In a `total_order` the groups do not depend on the order of arrival, so neither
does the exact sum of the rest. The mean is clamped between the two groups, so the mean of identical models is that
model, bit for bit.

Memory: ``2 x trim`` float32 models and 4 more for the sum (two 64-bit integers), however many sites answer, and one
more for the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from fedswin.federation.aggregation.fixed_point import FixedPointSum
from fedswin.federation.aggregation.piecewise import PiecewiseRule
from fedswin.federation.aggregation.total_order import clamp, from_keys, to_keys


class TrimmedMean(PiecewiseRule):
    """The trimmed mean of a round's models; needs ``2 x trim + 1`` of them, and disregards their weights.

    Args:
        shapes: the name and shape of every array of a model.
        trim: how many of the smallest and how many of the largest values of each parameter are left out.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], trim: int) -> None:
        super().__init__(shapes, partial(_Piece, trim=trim), needed=2 * trim + 1)


class _Piece:
    def __init__(self, size: int, trim: int) -> None:
        self._trim = trim
        self._smallest: list[np.ndarray] = []  # keys; at every place in ascending order
        self._largest: list[np.ndarray] = []  # keys; at every place in descending order
        self._sum = FixedPointSum(size)
        self._summed = 0

    def add(self, values: np.ndarray, weight: int) -> None:
        keys = _push(self._smallest, to_keys(values), np.minimum, np.maximum)
        if len(self._smallest) < self._trim:
            self._smallest.append(keys)
            return
        keys = _push(self._largest, keys, np.maximum, np.minimum)
        if len(self._largest) < self._trim:
            self._largest.append(keys)
            return
        self._sum.add(from_keys(keys).astype(np.float64))
        self._summed += 1

    def mean(self) -> np.ndarray:
        mean = self._sum.divided_by(self._summed).astype(np.float32)
        return clamp(mean, self._smallest[-1], self._largest[-1])


def _push(kept: list[np.ndarray], keys: np.ndarray, stays: np.ufunc, goes: np.ufunc) -> np.ndarray:
    """Sort ``keys`` in among the ``kept`` ones, place by place, and return what is pushed out at the end."""
    for row in kept:
        pushed = goes(row, keys)
        stays(row, keys, out=row)
        keys = pushed
    return keys
