"""Cases of 8 x 9 x 10 voxels, for sites whose data are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fedswin.data.datalist import Case

Voxels = NDArray[Any]


def hu(seed: int = 0) -> Voxels:
    """Draw voxels of air, fat, soft tissue and bone, int16."""
    return np.random.default_rng(seed).choice([-1000, -100, 40, 60, 300], (8, 9, 10)).astype(np.int16)


HU = hu()
LABEL = (HU > 200).astype(np.uint8)


def save(folder: Path, name: str, voxels: Voxels, *, spacing: float = 1.0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing, spacing, spacing, 1.0])), path)
    return path


def case(folder: Path, name: str, image: Voxels = HU, label: Voxels = LABEL, *, spacing: float = 1.0) -> Case:
    """Write a case; ``spacing`` is the label map's, in mm, the image's is 1."""
    return Case(
        save(folder, f"images/{name}.nii.gz", image),
        save(folder, f"labels/{name}.nii.gz", label, spacing=spacing),
        name,
    )
