"""One trained segmentation model, or several that predict together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.segmentation.model import build_segmenter
from fedswin.training.trainer import pick_device
from fedswin.weights.file import Weights, load_parameters, load_weights, resolve_weights


@dataclass(frozen=True)
class Ensemble:
    """Segmentation models that see images alike and name the same classes.

    Attributes:
        jobs: of each model.
        models: the networks, in evaluation mode, on ``device``.
        digests: the SHA-256 of each model's tensors.
        device: where the models live.
    """

    jobs: Sequence[Job]
    models: Sequence[nn.Module]
    digests: Sequence[str]
    device: torch.device

    @property
    def job(self) -> Job:
        """The first model's job, which decides about preprocessing, windows and classes."""
        return self.jobs[0]


def load_ensemble(paths: Sequence[Path]) -> Ensemble:
    """Load the models of weights files, of run folders (``global/best.pt``), or of every fold in a folder of folds.

    Raises:
        FedSwinError: if one cannot be loaded or segments nothing, or they differ in classes, channels, spacing,
            HU window or ROI.
    """
    paths = [file for path in paths for file in model_files(path)]
    weights = [_load(path) for path in paths]
    for path, other in zip(paths[1:], weights[1:], strict=True):
        _require_agreement(paths[0], weights[0].job, path, other.job)
    device = pick_device(weights[0].job)
    models = [_model(loaded, path).to(device) for loaded, path in zip(weights, paths, strict=True)]
    jobs, digests = [loaded.job for loaded in weights], [loaded.digest for loaded in weights]
    return Ensemble(jobs, models, digests, device)


def model_files(path: Path) -> list[Path]:
    """Return the weights files that ``path`` means: one, or that of each fold of a cross-validation, in order."""
    folds = [folder for folder in path.glob("fold*") if folder.name.removeprefix("fold").isdigit()]
    folds.sort(key=lambda folder: int(folder.name.removeprefix("fold")))
    return [resolve_weights(folder) for folder in folds] or [resolve_weights(path)]


def _load(path: Path) -> Weights:
    weights = load_weights(path)
    if weights.job.task != "finetune":
        raise FedSwinError(
            f"{path} is the model of a '{weights.job.task}' job and segments nothing. Give one of a 'finetune' job."
        )
    return weights


def _model(weights: Weights, path: Path) -> nn.Module:
    model = build_segmenter(weights.job)
    load_parameters(model, weights.tensors, str(path))
    return model.eval()


def _require_agreement(first: Path, job: Job, path: Path, other: Job) -> None:
    ours, theirs = _common(job), _common(other)
    for name, value in ours.items():
        if theirs[name] != value:
            raise FedSwinError(
                f"{first} and {path} cannot predict together: {name} is {value} in the first, but {theirs[name]} in "
                "the second. Give models of the same job, or predict with each by itself."
            )


def _common(job: Job) -> dict[str, Any]:
    return {
        "segmentation.classes": list(job.segmentation.classes.items()),  # a list, for their order counts
        "data.channels": job.data.channels,
        "data.spacing": job.data.spacing,
        "data.hu_window": job.data.hu_window,
        "data.roi": job.data.roi,
    }
