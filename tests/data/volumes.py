"""Small NIfTI files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray


def write_image(path: Path, spacing: tuple[float, float, float], axes: str = "RAS", *, value: int = 0) -> Path:
    """Write an image whose voxels are of ``spacing`` mm along R, A and S, stored with its axes towards ``axes``."""
    image = nib.Nifti1Image(np.full((3, 4, 5), value, np.int16), np.diag([*spacing, 1.0]))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    return _save(path, image.as_reoriented(turn))


def write_label(path: Path, *values: float) -> Path:
    """Write a label map that holds 0 and ``values``."""
    voxels: NDArray[Any] = np.zeros(8, np.float32 if any(value % 1 for value in values) else np.int16)
    voxels[1 : 1 + len(values)] = values
    return _save(path, nib.Nifti1Image(voxels.reshape(2, 2, 2), np.eye(4)))


def _save(path: Path, image: nib.Nifti1Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path
