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
        self._last_plane = prepared.shape[3] - 1
        padding = np.array(prepared.applied_operations[-1]["extra_info"]["padded"])[1:]  # the last step is SpatialPadd
        self._low, self._high = padding[:, 0], np.array(prepared.shape[1:]) - 1 - padding[:, 1]

    def empty(self) -> NDArray[np.uint8]:
        """Return a label map of background in the model's order of axes."""
        return np.zeros(self._shape, np.uint8)

    def as_stored(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a label map from the model's order of axes to the file's."""
        return np.ascontiguousarray(apply_orientation(labels, ornt_transform(_UNTURNED, self._turn)))

    def fill(self, labels: NDArray[np.uint8], first: int, probabilities: Tensor) -> None:
        """Write the likeliest class into the planes of ``labels`` that lie within a block of the model's planes.

        What lies outside the image as the model sees it, which ends half a voxel from its outermost centres, is
        background. The padding of an image that is smaller than a window is no part of it, and tells nothing.

        Args:
            labels: as `empty` returns it.
            first: the block's first plane.
            probabilities: (classes, X, Y, planes) on the model's grid.
        """
        last = first + probabilities.shape[-1] - 1
        low = -math.inf if first == 0 else first
        high = math.inf if last == self._last_plane else last
        positions = self._to_model[2, 2] * np.arange(self._shape[2]) + self._to_model[2, 3]
        planes = np.flatnonzero((positions >= low) & (positions < high))
        for start in range(0, len(planes), _PLANES):
            chosen = planes[start : start + _PLANES]
            places = self._places(chosen)
            likeliest = _likeliest(probabilities, places.clip(self._low, self._high) - (0, 0, first))
            labels[..., chosen] = np.where(self._is_seen(places), likeliest, 0)

    def _places(self, planes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return where the voxels of ``planes`` lie on the model's grid, (X, Y, planes, 3), in voxels."""
        indices = np.meshgrid(*map(np.arange, self._shape[:2]), planes, indexing="ij")
        return np.stack([*indices, np.ones_like(indices[0])], axis=-1) @ self._to_model[:3].T

    def _is_seen(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which ``places`` (…, 3) on the model's grid lie within the image."""
        within = (places > self._low - _HALF_A_VOXEL) & (places < self._high + _HALF_A_VOXEL)
        return within.all(-1)


def _likeliest(probabilities: Tensor, places: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Interpolate ``probabilities`` (classes, X, Y, Z) at ``places`` (…, 3); return the likeliest class of each."""
    centre = np.maximum(np.array(probabilities.shape[1:]) - 1, 1) / 2  # of a single plane, all is at its start
    points = torch.from_numpy(np.ascontiguousarray(((places - centre) / centre)[None, ..., ::-1])).to(probabilities)
    values = F.grid_sample(probabilities[None], points, padding_mode="border", align_corners=True)[0]
    return values.argmax(0).to(torch.uint8).cpu().numpy()
