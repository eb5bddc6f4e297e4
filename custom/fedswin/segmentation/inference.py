"""Segmenting a whole volume with a window that slides over it, by one model or the mean of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedswin.config import Job
from fedswin.data.loading import image_preprocessing
from fedswin.segmentation.ensemble import Ensemble
from fedswin.segmentation.file_grid import FileGrid
from fedswin.segmentation.windows import finished_logits, starts_by_axis

WindowProgress = Callable[[int, int], None]
"""Called with ``(windows done, windows in all)``."""


def predict_classes(model: nn.Module, image: Tensor, job: Job, device: torch.device) -> Tensor:
    """Return the class index of every voxel of a preprocessed image.

    Args:
        model: the segmentation network, in evaluation mode.
        image: a preprocessed image, (1, X, Y, Z).
        job: decides window and overlap.
        device: where the model lives.

    Returns:
        Class indices on the CPU, (1, X, Y, Z).
    """
    runs = finished_logits(model, image, job, device)
    return torch.cat([logits.argmax(0).cpu() for logits in runs], dim=-1)[None]


def predict(ensemble: Ensemble, image: Path, progress: WindowProgress = lambda done, total: None) -> NDArray[np.uint8]:
    """Segment an image file; return the class index of every voxel of the file.

    The image is prepared as for training. The models' class probabilities, their mean, are brought back to the
    file's grid by linear interpolation, and only there the likeliest class is taken: taken before, it would draw the
    organs in steps of the coarser grid. What the foreground crop has cut off is background.

    It goes block by block along the body, so that the memory for probabilities does not grow with its length: each
    model holds those of one level of windows.

    Args:
        ensemble: the models.
        image: a NIfTI file of any orientation, spacing and size.
        progress: called after each batch of windows.

    Returns:
        Class indices, in the file's order of axes.
    """
    prepared = image_preprocessing(ensemble.job.data)({"image": str(image)})["image"]
    grid = FileGrid(prepared)
    labels = grid.empty()
    for first, probabilities in probability_blocks(ensemble, prepared.as_tensor(), progress):
        grid.fill(labels, first, probabilities)
        del probabilities  # before the next block is made
    return grid.as_stored(labels)


def probability_blocks(
    ensemble: Ensemble, image: Tensor, progress: WindowProgress = lambda done, total: None
) -> Iterator[tuple[int, Tensor]]:
    """Yield the class probabilities of a preprocessed image, mean over the models, in blocks along Z.

    Args:
        ensemble: the models.
        image: a preprocessed image, (channels, X, Y, Z).
        progress: called after each batch of windows.

    Yields:
        The first plane of each block, and the block (classes, X, Y, planes). Each block starts with the plane that
        the one before ended with, so that any point between two planes lies within one block. No block has more planes
        than a window, and that one.
    """
    job, device = ensemble.job, ensemble.device
    counted = _Counter(prod(map(len, starts_by_axis(image.shape[1:], job))) * len(ensemble.models), progress)
    runs = (finished_logits(counted(model), image, job, device) for model in ensemble.models)
    first = 0
    joint: list[Tensor] = []
    for each in zip(*runs, strict=True):
        mean = reduce(Tensor.add_, map(_softmax_, each)).div_(len(each))
        yield first - len(joint), torch.cat([*joint, mean], dim=-1)
        first += mean.shape[-1]
        joint = [mean[..., -1:].clone()]


class _Counter:
    """Reports the windows that went through a model."""

    def __init__(self, total: int, progress: WindowProgress) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def __call__(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        def counted(windows: Tensor) -> Tensor:
            logits = model(windows)
            self._done += len(windows)
            self._progress(self._done, self._total)
            return logits

        return counted


def _softmax_(logits: Tensor) -> Tensor:
    """Turn logits (classes, X, Y, planes) into probabilities, in place."""
    for plane in logits.unbind(1):  # one by one, for a softmax of all would hold them twice
        plane.copy_(plane.softmax(0))
    return logits
