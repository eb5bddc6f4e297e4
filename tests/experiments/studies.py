"""A small collection of CT, the jobs on it, and a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

from end_to_end import tiny
from fedswin.experiments.cells import Cell
from fedswin.experiments.plan import Plan, load_plan
from fedswin.experiments.rows import Row

SHAPE = (66, 40, 36)
CELL = Cell("lump", "as they are", "", "all", "scratch", "", "", 0)
ABOUT = {"alone": "", "encoder": "", "data": "d", "code": "c", "torch": "t", "machine": "m", "finished": "f"}


def write_collection(folder: Path, sources: dict[str, tuple[int, int]], shape: tuple[int, int, int] = SHAPE) -> Path:
    """Write ``<source>/<case>/ct.nii.gz``: for each source so many cases with a label map, and so many without.

    No two collections of different names share a scan.
    """
    for source, (labelled, unlabelled) in sources.items():
        rng = np.random.default_rng([*f"{folder.name}/{source}".encode()])
        for case in range(labelled + unlabelled):
            label = np.zeros(shape, np.uint8)
            label[tuple(slice(side // 4, side // 2) for side in shape)] = 1
            image = (rng.normal(0, 30, shape) + 150 * label).astype(np.int16)
            path = folder / source / f"case{case}"
            path.mkdir(parents=True)
            nib.save(nib.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])), path / "ct.nii.gz")
            if case < labelled:
                nib.save(nib.Nifti1Image(label, np.diag([2.0, 2.0, 2.0, 1.0])), path / "label.nii.gz")
    return folder


def write_labelled(folder: Path, sources: dict[str, list[set[int]]]) -> Path:
    """Write ``<source>/<case>`` with label maps that show these values; an empty set is a case without one."""
    for source, cases in sources.items():
        rng = np.random.default_rng([*source.encode()])
        for number, values in enumerate(cases):
            path = folder / source / f"case{number:02d}"
            path.mkdir(parents=True)
            label = np.zeros((4, 4, 4), np.uint8)
            label.flat[: len(values)] = sorted(values)
            image = rng.integers(-100, 100, label.shape).astype(np.int16)
            nib.save(nib.Nifti1Image(image, np.eye(4)), path / "ct.nii.gz")
            if values:
                nib.save(nib.Nifti1Image(label, np.eye(4)), path / "label.nii.gz")
    return folder


def write_plan(folder: Path, name: str = "plan", **changes: Any) -> Plan:
    """Write a plan on the collection ``folder/collection``, and the two jobs that it names, unless they are there."""
    for job in (tiny.PRETRAIN, tiny.FINETUNE):
        path = folder / f"{job['task']}.yaml"
        if not path.exists():
            path.write_text(yaml.safe_dump(job))
    content = {
        "question": "Does it pay?",
        "data": {"shard": {"collection": "collection", "by": "source"}},
        "folds": 2,
        "seeds": [0],
        "arms": ["scratch", "local", "federated", "central"],
        "pretraining": {"job": "pretrain.yaml"},
        "tasks": {"lump": {"job": "finetune.yaml"}},
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return load_plan(path)


def fixed(**changes: Any) -> dict[str, Any]:
    """Return what a plan with one test for all runs has in place of folds and seeds."""
    seeds = {"folds": None, "seeds": None, "encoder_seeds": [0, 1], "finetune_seeds": [0, 1]}
    return {**seeds, "test_patients": 4, **changes}


def row(cell: Cell, cases: dict[str, float], key: str = "", encoder: str = "", **measures: float) -> Row:
    """Return a row whose Dice is the mean of those of ``{"site/case": Dice}``; ``encoder`` is the verdict on it."""
    sites: dict[str, list[float]] = {}
    for name, dice in cases.items():
        sites.setdefault(name.partition("/")[0], []).append(dice)
    means = {site: float(np.mean(values)) for site, values in sites.items()}
    dice = float(np.mean(list(cases.values())))
    return Row(key or str(cell), cell, {"dice": dice, **measures}, {}, means, cases, {**ABOUT, "encoder": encoder})
