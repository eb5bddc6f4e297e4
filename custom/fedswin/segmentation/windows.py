"""A window that slides over a volume once: logits, plane by plane, in memory that does not grow with its length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor

from fedswin.config import Job

_BATCH = 4
"""Windows that go through the network together."""


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return where the windows start along an axis, as in MONAI's ``sliding_window_inference``.

    Args:
        size: of the image along the axis, at least ``window``.
        window: size of a window along the axis.
        overlap: share of the window that it has in common with its neighbour, 0 to below 1.
    """
    return [*range(0, size - window, max(int(window * (1 - overlap)), 1)), size - window]


def starts_by_axis(shape: Sequence[int], job: Job) -> list[list[int]]:
    """Return where the windows of ``job`` start along each axis of a volume of ``shape`` (X, Y, Z)."""
    return [window_starts(n, side, job.segmentation.overlap) for n, side in zip(shape, job.data.roi, strict=True)]


def finished_logits(
    model: Callable[[Tensor], Tensor], image: Tensor, job: Job, device: torch.device
) -> Iterator[Tensor]:
    """Yield the logits of ``image`` in runs of planes along Z, each as soon as no later window covers it.

    They are those of MONAI's ``sliding_window_inference`` with ``mode="gaussian"``, up to the order of the sums: the
    mean over the windows that cover a voxel, weighted towards their centres. Each window goes through the model once,
    on a GPU in bfloat16 if ``trainer.amp`` says so; the sums are float32 everywhere.

    Args:
        model: maps windows (B, channels, *roi) to logits (B, 1 + classes, *roi).
        image: a preprocessed image, (channels, X, Y, Z), at least as large as a window.
        job: decides window, overlap and number of classes.
        device: where the model lives; windows are brought there, and the sums are held there.

    Yields:
        Logits (1 + classes, X, Y, planes). They are the sums' own memory: the caller may write into them, and must be
        done with them before it asks for the next.
    """
    size, roi = image.shape[1:], job.data.roi
    rows, columns, levels = starts_by_axis(size, job)
    corners = list(product(rows, columns))
    importance = _importance(roi, device)
    # The last channel sums the weights. Only the planes of one level of windows are held.
    sums = torch.zeros(2 + len(job.segmentation.classes), *size[:2], roi[2], device=device)
    for level, following in zip(levels, [*levels[1:], size[2]], strict=True):
        slab = image[..., level : level + roi[2]]
        for (x, y), logits in _by_corner(model, slab, corners, job, device):
            here = sums[:, x : x + roi[0], y : y + roi[1]]
            here[:-1] += logits * importance
            here[-1] += importance
        done = following - level
        yield sums[:-1, ..., :done].div_(sums[-1, ..., :done])
        for channel in sums:  # one by one, for a copy of all would be as large as what it frees
            channel[..., :-done] = channel[..., done:].clone()
            channel[..., -done:] = 0


@cache
def _importance(roi: tuple[int, int, int], device: torch.device) -> Tensor:
    return compute_importance_map(roi, mode="gaussian", device=device)


@torch.no_grad()
def _by_corner(
    model: Callable[[Tensor], Tensor],
    slab: Tensor,
    corners: Sequence[tuple[int, int]],
    job: Job,
    device: torch.device,
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Yield the corner and the logits of each window of ``slab`` (channels, X, Y, planes of a window)."""
    amp = job.trainer.amp and device.type == "cuda"
    for first in range(0, len(corners), _BATCH):
        batch = corners[first : first + _BATCH]
        windows = torch.stack([slab[:, x : x + job.data.roi[0], y : y + job.data.roi[1]] for x, y in batch])
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            logits = model(windows.to(device))
        yield from zip(batch, logits, strict=True)
