"""Hospitals small enough for tests that start processes, and jobs to match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fedswin.config import Job, parse_job
from fedswin.data.datalist import Case, write_datalist

PRETRAIN: dict[str, Any] = {
    "name": "tiny_pretrain",
    "task": "pretrain",
    "model": {"feature_size": 12},
    "data": {"roi": [32, 32, 32]},
    "pretraining": {"reconstruction_head": "deconv5", "validation_batches": 1},
    "trainer": {"batch_size": 2, "warmup_steps": 1, "learning_rate": 1e-3, "cpu_threads": 1},
    "federation": {"rounds": 2, "local_steps": 2},
}
FINETUNE: dict[str, Any] = {
    "name": "tiny_finetune",
    "task": "finetune",
    "model": {"feature_size": 12},
    "data": {"roi": [64, 32, 32], "hu_window": [-175, 250]},
    "segmentation": {"classes": {"lump": 1}, "overlap": 0.0},
    "trainer": {"batch_size": 1, "warmup_steps": 1, "learning_rate": 1e-3, "cpu_threads": 1},
    "federation": {"rounds": 2, "local_steps": 2},
}


def job(content: dict[str, Any]) -> Job:
    """Return the job of ``content``."""
    return parse_job(content, "test")


def write_sites(folder: Path, training: dict[str, int], *, unlabelled: tuple[str, ...] = ()) -> Path:
    """Write one site folder for each entry of ``training``, with one validation and one test case each."""
    for number, (name, cases) in enumerate(training.items()):
        rng = np.random.default_rng(number)
        written = [_write_case(folder / name, case, rng, name not in unlabelled) for case in range(cases + 2)]
        write_datalist(
            folder / name, {"training": written[:cases], "validation": written[cases:-1], "test": written[-1:]}
        )
    return folder


def _write_case(folder: Path, number: int, rng: np.random.Generator, labelled: bool) -> Case:
    """A block of soft tissue with a brighter lump; 66 x 40 x 36 voxels of 2 mm."""
    label = np.zeros((66, 40, 36), np.uint8)
    corner = rng.integers(4, 12, 3)
    label[corner[0] : corner[0] + 30, corner[1] : corner[1] + 18, corner[2] : corner[2] + 18] = 1
    image = rng.normal(0, 30, label.shape) + 120.0 * label
    image[:3] = -1000
    paths = [folder / part / f"case{number}.nii.gz" for part in ("images", "labels")]
    for path, voxels in zip(paths, (image.astype(np.int16), label), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        if labelled or path.parent.name == "images":
            nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return Case(paths[0], paths[1] if labelled else None, f"patient{number}")
