"""Whole numbers in proportion to shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def apportion(total: int, shares: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Divide ``total`` in proportion to ``shares``, each part rounded to a neighbour (largest remainder method).

    Args:
        total: the number of items, at least 0.
        shares: at least 0 each, of any sum above 0.

    Returns:
        As many whole numbers as there are shares; their sum is ``total``.
    """
    wanted = np.asarray(shares) * total / np.sum(shares)
    whole = np.floor(wanted).astype(np.int64)
    largest_rest = np.argsort(whole - wanted, kind="stable")[: total - whole.sum()]
    whole[largest_rest] += 1
    return whole
