"""Segmenting a whole volume with a window that slides over it, by one model or the mean of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from math import prod
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from fedswin.config import Job
from fedswin.data.loading import image_preprocessing
from fedswin.segmentation.chunks import plan_chunks, window_starts
from fedswin.segmentation.ensemble import Ensemble
from fedswin.segmentation.file_grid import FileGrid

WindowProgress = Callable[[int, int], None]
"""Called with ``(windows done, windows in all)``."""

_MOST_PROBABILITIES = 2**29
"""Class probabilities held at a time, 2 GiB: a 512 x 512 x 600 scan with 14 classes has 9 GB on its own grid."""


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
    return _window_logits(model, image.to(device), job).argmax(dim=1).cpu()


def predict(ensemble: Ensemble, image: Path, progress: WindowProgress = lambda done, total: None) -> NDArray[np.uint8]:
    """Segment an image file; return the class index of every voxel of the file.

    The image is prepared as for training. The models' class probabilities, their mean, are brought back to the
    file's grid by linear interpolation, and only there the likeliest class is taken: taken before, it would draw the
    organs in steps of the coarser grid. What the foreground crop has cut off is background.

    It goes block by block along the body, so that the memory for probabilities does not grow with its length.

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
    ensemble: Ensemble,
    image: Tensor,
    progress: WindowProgress = lambda done, total: None,
    most: int = _MOST_PROBABILITIES,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the class probabilities of a preprocessed image, mean over the models, in blocks along Z.

    Args:
        ensemble: the models.
        image: a preprocessed image, (1, X, Y, Z).
        progress: called after each batch of windows.
        most: how many probabilities a block may have; it is never shorter than a window.

    Yields:
        The first plane of each block, and the block (classes, X, Y, planes). Each block starts with the plane that
        the one before ended with, so that any point between two planes lies within one block.
    """
    job, shape = ensemble.job, image.shape[1:]
    classes = 1 + len(job.segmentation.classes)
    starts = [window_starts(n, roi, job.segmentation.overlap) for n, roi in zip(shape, job.data.roi, strict=True)]
    chunks = plan_chunks(starts[2], job.data.roi[2], most // (classes * shape[0] * shape[1]))
    windows = sum(chunk.rows for chunk in chunks) * prod(map(len, starts[:2])) * len(ensemble.models)
    counted = _Counter(windows, progress)
    last_plane = None
    for chunk in chunks:
        part = image[..., chunk.start : chunk.stop].to(ensemble.device)
        block = _mean_probabilities(ensemble, part, counted)[..., chunk.first - chunk.start : chunk.end - chunk.start]
        if last_plane is not None:
            yield chunk.first - 1, torch.cat([last_plane, block[..., :1]], dim=-1)
        yield chunk.first, block
        last_plane = block[..., -1:].clone()
        del block  # before the next one is made


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


def _mean_probabilities(ensemble: Ensemble, image: Tensor, counted: _Counter) -> Tensor:
    """Return the mean over the models of the softmax, (classes, X, Y, Z), of ``image`` (1, X, Y, Z)."""
    each = (_probabilities(counted(model), image, ensemble.job) for model in ensemble.models)
    return reduce(Tensor.add_, each).div_(len(ensemble.models))


def _probabilities(model: Callable[[Tensor], Tensor], image: Tensor, job: Job) -> Tensor:
    logits = _window_logits(model, image, job)[0]
    for plane in logits.unbind(1):  # in place, for a softmax of all would hold them twice
        plane.copy_(plane.softmax(0))
    return logits


@torch.no_grad()
def _window_logits(model: Callable[[Tensor], Tensor], image: Tensor, job: Job) -> Tensor:
    """Return the logits (1, classes, X, Y, Z) of ``image`` (1, X, Y, Z), on its device."""
    return sliding_window_inference(
        image[None],
        roi_size=job.data.roi,
        sw_batch_size=4,
        predictor=model,
        overlap=job.segmentation.overlap,
        mode="gaussian",
    )
