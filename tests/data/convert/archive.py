"""Writes small volumes that pass for CT, in the forms that archives hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from data.convert.dicom_builder import linear_hu
from fedswin.data.convert.stack import LPS_TO_RAS

SHAPE = (13, 11, 9)
AFFINE = np.array([[-0.8, 0.1, 0, 40.5], [0.1, 0.8, 0.2, -30.25], [0, -0.2, 2.5, 700.125], [0, 0, 0, 1]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * (0.8, 0.9, 2.5)  # NRRD and MetaImage know no shear


def ct(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    """Soft tissue, fat and air, (x, y, z) in HU; another volume for every seed."""
    tissue = np.random.default_rng(seed).choice([-1000, -100, 40], shape, p=[0.2, 0.2, 0.6])
    return (tissue + np.random.default_rng(seed + 1).normal(0, 20, shape)).astype(np.int16)


def hu_from_fat_to_bone(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """HU by position, for `data.convert.dicom_builder.write_series`, whose own would not pass for CT."""
    return 10 * linear_hu(position) - 800


def save(
    path: Path, voxels: NDArray[Any] | None = None, affine: NDArray[np.float64] = AFFINE, *, packed: bool = True
) -> Path:
    """Write NIfTI, or through SimpleITK any other form that the name tells, packed or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = ct() if voxels is None else voxels
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(voxels, affine), path)
    else:
        SimpleITK.WriteImage(_itk_image(voxels, LPS_TO_RAS @ affine), str(path), useCompression=packed)
    return path


def _itk_image(voxels: NDArray[Any], affine: NDArray[np.float64]) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image
