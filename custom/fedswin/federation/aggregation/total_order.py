"""float32 values as integers that sort alike, with -0.0 before 0.0.

numpy's ``minimum`` and ``maximum`` take either zero when they meet both, and then the order of the arguments shows in
the sign bit. Among the integers there are no such ties: equal means the same bits. For a value of positive sign the
integer is its bits; for one of negative sign all bits but the sign are inverted, since there more bits mean less.
"""

from __future__ import annotations

import numpy as np

_ALL_BUT_SIGN = 0x7FFFFFFF


def to_keys(values: np.ndarray) -> np.ndarray:
    """Return the int32 key of each of the float32 ``values``, which hold no NaN."""
    return _invert_negative(values.view(np.int32))


def from_keys(keys: np.ndarray) -> np.ndarray:
    """Return the float32 values whose keys are ``keys``."""
    return _invert_negative(keys).view(np.float32)


def clamp(values: np.ndarray, smallest: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Move each of the float32 ``values`` between the values whose keys are ``smallest`` and ``largest``."""
    return from_keys(np.clip(to_keys(values), smallest, largest))


def _invert_negative(bits: np.ndarray) -> np.ndarray:
    return bits ^ (bits >> 31 & _ALL_BUT_SIGN)
