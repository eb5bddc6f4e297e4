"""The grid that an image file is stored on, and the way back to it from the grid that the model sees."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from torch import Tensor

_PLANES = 8
"""Planes of the file's grid whose class probabilities are held at a time."""
_HALF_A_VOXEL = 0.501
"""With room for rounding: Spacing leaves up to half a voxel of the image over."""
_UNTURNED = [[0, 1], [1, 1], [2, 1]]


class FileGrid:
    """The voxels of an image file, taken in the order of the model's axes (R, A, S) while they are filled.

    Args:
        prepared: the image, (1, X, Y, Z), as ``image_preprocessing`` returns it.
    """

    def __init__(self, prepared: MetaTensor) -> None:
        stored = np.asarray(prepared.meta["spatial_shape"]).astype(int)
        to_model = np.linalg.inv(prepared.affine.numpy()) @ np.asarray(prepared.meta["original_affine"])
        self._turn = io_orientation(to_model)
        self._shape = tuple(stored[np.argsort(self._turn[:, 0])].tolist())
        # Upper triangular, for Spacing straightens what is sheared so: a plane of the file stays a plane of the model.
        self._to_model = to_model @ inv_ornt_aff(self._turn, stored)
        self._model_shape = tuple(prepared.shape[1:])

    def empty(self) -> NDArray[np.uint8]:
        """Return a label map of background in the model's order of axes."""
        return np.zeros(self._shape, np.uint8)

    def as_stored(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a label map from the model's order of axes to the file's."""
        return np.ascontiguousarray(apply_orientation(labels, ornt_transform(_UNTURNED, self._turn)))

    def fill(self, labels: NDArray[np.uint8], first: int, probabilities: Tensor) -> None:
        """Write the likeliest class into the planes of ``labels`` that lie within a block of the model's planes.

        What lies outside the model's volume, which ends half a voxel from its outermost centres, is background.

        Args:
            labels: as `empty` returns it.
            first: the block's first plane.
            probabilities: (classes, X, Y, planes) on the model's grid, at least two planes.
        """
        last = first + probabilities.shape[-1] - 1
        low = -math.inf if first == 0 else first
        high = math.inf if last == self._model_shape[2] - 1 else last
        positions = self._to_model[2, 2] * np.arange(self._shape[2]) + self._to_model[2, 3]
        planes = np.flatnonzero((positions >= low) & (positions < high))
        for start in range(0, len(planes), _PLANES):
            chosen = planes[start : start + _PLANES]
            places = self._places(chosen) - (0, 0, first)
            labels[..., chosen] = _likeliest(probabilities, places)

    def _places(self, planes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return where the voxels of ``planes`` lie on the model's grid, (X, Y, planes, 3), in voxels."""
        indices = np.meshgrid(*map(np.arange, self._shape[:2]), planes, indexing="ij")
        return np.stack([*indices, np.ones_like(indices[0])], axis=-1) @ self._to_model[:3].T


def _likeliest(probabilities: Tensor, places: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Interpolate ``probabilities`` (classes, X, Y, Z) at ``places`` (…, 3); return the likeliest class of each."""
    centre = (np.array(probabilities.shape[1:]) - 1) / 2
    offsets = places - centre
    points = torch.from_numpy(np.ascontiguousarray((offsets / centre)[None, ..., ::-1])).to(probabilities)
    values = F.grid_sample(probabilities[None], points, padding_mode="border", align_corners=True)[0]
    inside = (np.abs(offsets) < centre + _HALF_A_VOXEL).all(-1)
    return np.where(inside, values.argmax(0).to(torch.uint8).cpu().numpy(), 0)
