"""Segmentation networks whose answer is known, to follow a prediction through the whole path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from torch import nn

from fedswin.config import Job, parse_job
from fedswin.segmentation.ensemble import Ensemble

HU_OF_A_CLASS = 100


class ReadsClasses(nn.Module):
    """Finds class c where the image has c x 100 HU; between two of them the probabilities are linear."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        index = torch.arange(1 + self.classes).view(1, -1, 1, 1, 1)
        return (1 - (windows * self.classes - index).abs()).clamp(min=1e-6).log()


class Says(nn.Module):
    """Gives every voxel the same class probabilities."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log().view(1, -1, 1, 1, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.logits.repeat(len(windows), 1, *windows.shape[2:])


class FindsPadding(nn.Module):
    """Finds class 1 where the window holds zeros, and background elsewhere."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        padding = (windows == 0).float()
        return 10 * torch.cat([1 - padding, padding], dim=1)


def job(classes: dict[str, int], data: dict[str, Any] | None = None, **segmentation: Any) -> Job:
    """Return a job whose HU window fits `ReadsClasses`."""
    window = [0, HU_OF_A_CLASS * len(classes)]
    content = {
        "name": "stand_in",
        "task": "finetune",
        "data": {"roi": [64, 32, 32], "hu_window": window, **(data or {})},
        "segmentation": {"classes": classes, "overlap": 0.25, **segmentation},
    }
    return parse_job(content, "test")


def ensemble(of: Job, *models: nn.Module) -> Ensemble:
    """Return the models as an ensemble on the CPU."""
    return Ensemble([of] * len(models), models, ["digest"] * len(models), torch.device("cpu"))


def save(path: Path, voxels: np.ndarray, affine: np.ndarray, codes: str = "RAS") -> Path:
    """Write a volume, given in RAS, as it is stored in the orientation ``codes``."""
    image = nib.Nifti1Image(voxels, affine)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(codes))), path)
    return path


def blobs(shape: tuple[int, int, int], classes: int, seed: int = 0) -> np.ndarray:
    """Return a label map, uint8, of a box of each class with corners drawn by chance, away from the border."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for index in range(1, classes + 1):
        low = [int(rng.integers(3, size // 2)) for size in shape]
        x, y, z = (slice(a, a + int(rng.integers(5, size // 2 - 3))) for a, size in zip(low, shape, strict=True))
        labels[x, y, z] = index
    return labels
