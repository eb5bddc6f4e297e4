"""The smallest type that holds the values of a volume as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def compact(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return ``voxels`` as int16 if all are whole numbers that fit, else as float32."""
    limits = np.iinfo(np.int16)
    if voxels.size and voxels.min() >= limits.min and voxels.max() <= limits.max:
        whole = voxels.astype(np.int16)
        if np.array_equal(whole, voxels):
            return whole
    return voxels.astype(np.float32)
