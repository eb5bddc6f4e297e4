"""A scanner's voxel grid: where its voxels lie in the patient, and how the file stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """A regular grid along the patient's axes.

    Attributes:
        low: centre of the first voxel, x (right), y (front), z (head), in mm from the anatomy's origin.
        spacing: mm along x, y, z.
        shape: voxels along x, y, z.
    """

    low: tuple[float, float, float]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def axes(self) -> list[Array]:
        """The voxel centres along x, y, z: three rising arrays in mm."""
        return [a + s * np.arange(n) for a, s, n in zip(self.low, self.spacing, self.shape, strict=True)]

    def affine(self, isocentre: Sequence[float]) -> Array:
        """Return the 4x4 RAS affine in mm when the anatomy's origin lies at ``isocentre`` of the scanner."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = np.add(self.low, isocentre)
        return affine


def grid_over(low: Sequence[float], high: Sequence[float], spacing: Sequence[float]) -> Grid:
    """Return the grid of ``spacing`` mm whose voxels fill the box from ``low`` to ``high`` (mm)."""
    size, step = np.subtract(high, low), np.asarray(spacing, float)
    shape = np.maximum(np.round(size / step), 1).astype(int)
    first = np.asarray(low) + (size - (shape - 1) * step) / 2
    x, y, z = (tuple(values.tolist()) for values in (first, step, shape))
    return Grid(x, y, z)


def as_nifti(volume: Array, affine: Array, orientation: str) -> nib.Nifti1Image:
    """Return a RAS ``volume`` (x, y, z) as a NIfTI image stored in ``orientation``.

    Args:
        volume: integer voxels along x (right), y (front), z (head).
        affine: the 4x4 affine of ``volume`` in mm.
        orientation: axis codes such as ``LPS``: the side that each stored axis runs to.
    """
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    stored = affine @ inv_ornt_aff(turn, volume.shape)
    image = nib.Nifti1Image(np.ascontiguousarray(apply_orientation(volume, turn)), stored)
    image.set_qform(stored, code="scanner")
    image.set_sform(stored, code="scanner")
    image.header.set_xyzt_units("mm")
    return image
