"""Planes of a volume as a radiologist sees them, and pictures made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Picture = NDArray[np.uint8]
"""(height, width, 3), the first row on top."""

AXES = (2, 1, 0)
"""Of a volume in RAS, what the axial, the coronal and the sagittal planes lie across."""
COLOURS = (
    "#7b5cd6", "#f2a23c", "#f6c65b", "#2fa84f", "#e8e04a", "#b5573f", "#e58fb8",
    "#e02828", "#2f6fe0", "#35c4e0", "#d8b98a", "#8be04a", "#4ae0a0",
)  # fmt: skip
"""Of the labels 1, 2, ...; they repeat after 13."""

_ALPHA = 0.45
_GAP = 2
"""Pixels between two planes of a picture."""


def busiest(label: Array, axis: int) -> int:
    """Return the plane across ``axis`` with most organs, and among those with most labelled voxels."""
    planes = np.moveaxis(label, axis, 0).reshape(label.shape[axis], -1)
    organs = np.array([np.unique(plane).size for plane in planes])
    if organs.max() == 1:
        return len(planes) // 2
    return int(np.lexsort(((planes > 0).sum(1), organs))[-1])


def upright(volume: Array, axis: int, place: int) -> Array:
    """Return the plane as rows from bottom to top; across from right to left, or from front to back."""
    plane: Array = np.take(volume, place, axis)[::-1].T
    return plane


def aspect(axis: int, spacing: Sequence[float]) -> float:
    """Return how many times as high as wide a voxel is in an upright plane across ``axis``."""
    across, up = (other for other in range(3) if other != axis)
    return spacing[up] / spacing[across]


def square(plane: Array, axis: int, spacing: Sequence[float]) -> Array:
    """Repeat or drop rows of an upright plane across ``axis``, so that its pixels are as high as they are wide."""
    ratio = aspect(axis, spacing)
    rows = np.arange(round(len(plane) * ratio)) / ratio
    taken: Array = plane[np.minimum(rows.astype(int), len(plane) - 1)]
    return taken


def grey(plane: Array) -> Picture:
    """Draw an upright plane of values from 0, which is black, to 1; what lies outside is cut off."""
    values = np.nan_to_num(plane).clip(0, 1)[::-1] * 255
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def overlaid(picture: Picture, label: Array) -> Picture:
    """Lay an upright plane of labels over a picture of the same size, each label in its own of `COLOURS`."""
    colours = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in COLOURS])
    labels = label[::-1].astype(int)
    blended = (1 - _ALPHA) * picture + _ALPHA * colours[(labels - 1) % len(COLOURS)]
    return np.where(labels[..., None] > 0, blended, picture).astype(np.uint8)


def montage(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Lay pictures out in rows, each in the middle of a place as large as the largest needs."""
    height, width = (max(picture.shape[side] for row in rows for picture in row) for side in (0, 1))
    return np.concatenate(
        [np.concatenate([_framed(picture, height, width) for picture in row], axis=1) for row in rows], axis=0
    )


def _framed(picture: Picture, height: int, width: int) -> Picture:
    frame = np.zeros((height + _GAP, width + _GAP, 3), np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    frame[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return frame
