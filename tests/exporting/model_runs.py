"""Run folders with models that nobody trained, written without any process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from end_to_end import tiny
from fedswin.config import Job
from fedswin.data.loading import image_preprocessing
from fedswin.provenance import write_provenance
from fedswin.records import round_record
from fedswin.run_folder import RunFolder, write_job
from fedswin.weights.file import Weights
from fedswin.weights.handover import initial_state

FINETUNE = tiny.job(tiny.FINETUNE)
PRETRAIN = tiny.job(tiny.PRETRAIN)
SITES = {"north": 3, "south": 5}


def model(job: Job, seed: int = 1) -> Weights:
    """A model that no initialisation gives: biases and scales are random, too."""
    generator = torch.Generator().manual_seed(seed)
    fresh = initial_state(job).tensors
    return Weights({name: t + 0.05 * torch.randn(t.shape, generator=generator) for name, t in fresh.items()}, job)


def write_run(folder: Path, job: Job, **provenance: Any) -> Path:
    """A finished run whose best model is that of round 1, and whose last is that of round 2."""
    run = RunFolder(folder, job)
    write_job(folder, job)
    write_provenance(folder, job, "simulate", **{"sites": list(SITES), "handover": None, **provenance})
    better, worse = (0.5, 0.25) if job.task == "finetune" else (1.5, 3.0)
    for number, score in ((0, worse), (1, better), (2, worse)):
        tensors = model(job, seed=number).tensors
        run.save_last(tensors, number)
        run.close_round(round_record(number, "ok", _said(job, score)), tensors)
    return folder


def _said(job: Job, score: float) -> dict[str, Any]:
    metrics = dict.fromkeys(job.metrics, score)
    return {site: {"metrics": metrics, "validation_cases": 2, "cases": cases} for site, cases in SITES.items()}


def change_provenance(run: Path, **changes: Any) -> None:
    path = run / "provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def ct_crop(real_ct: Path, job: Job) -> Tensor:
    """A sub-volume of a real scan as the network gets it, (1, 1, X, Y, Z)."""
    image = image_preprocessing(job.data)({"image": str(real_ct / "sarcoma" / "STS_008" / "ct.nii.gz")})["image"]
    starts = [(size - side) // 2 for size, side in zip(image.shape[1:], job.data.roi, strict=True)]
    x, y, z = (slice(start, start + side) for start, side in zip(starts, job.data.roi, strict=True))
    crop = image.as_tensor()[None, :, x, y, z].contiguous()
    assert crop.std() > 0.05  # there is something to see
    return crop
