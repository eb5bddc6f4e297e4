"""Two views of each sub-volume: a rotation and a cut-out, drawn in one function and applied in another.

Paper, sections 4.1 and 4.2. Every draw comes from the generator it is given, so that the same seed gives
the same views whatever the device, the batch, or the order of the calls around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedswin.pretraining.heads import ROTATIONS

_PLANES = {"x": (2, 3), "y": (1, 3), "z": (1, 2)}
"""The two axes of a (1, X, Y, Z) volume that span the plane perpendicular to a patient axis."""


def draw_rotations(count: int, rng: np.random.Generator) -> Tensor:
    """Draw ``count`` quarter turns, an int64 tensor of 0 to 3."""
    return torch.from_numpy(rng.integers(ROTATIONS, size=count))


def rotate(volumes: Tensor, turns: Tensor, axis: str) -> Tensor:
    """Turn each volume of (B, 1, X, Y, Z) by ``turns[b]`` x 90 degrees about the patient axis ``axis``.

    The sides of the plane of rotation must be equal.
    """
    plane = _PLANES[axis]
    return torch.stack([torch.rot90(volume, int(turn), plane) for volume, turn in zip(volumes, turns, strict=True)])


def draw_cutout(shape: Sequence[int], rate: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the voxels to drop: boxes, none longer than a quarter of the side, until ``rate`` is reached.

    The last box is cut to the slices that are needed, which keeps the share below ``rate`` + 0.01.

    Returns:
        A boolean array of ``shape`` (X, Y, Z), true where the voxel is dropped.
    """
    mask = np.zeros(shape, dtype=bool)
    wanted = int(np.ceil(rate * mask.size))
    missing = wanted
    while missing > 0:
        box = _draw_box(shape, rng)
        fresh = ~mask[box]
        slices = int(np.searchsorted(np.cumsum(fresh.sum(axis=(1, 2))), missing)) + 1
        mask[box][:slices] = True
        missing = wanted - int(mask.sum())
    return mask


def cut_out(volumes: Tensor, dropped: Tensor, noise: Tensor) -> Tensor:
    """Replace the ``dropped`` voxels of (B, 1, X, Y, Z) by ``noise``; all three have the same shape."""
    return torch.where(dropped, noise, volumes)


def draw_dropped_voxels(shape: Sequence[int], rate: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw cut-out masks and noise for a batch of ``shape`` (B, 1, X, Y, Z).

    The noise is uniform over 0 to 1, the range of windowed intensities.
    """
    masks = np.stack([draw_cutout(shape[2:], rate, rng) for _ in range(shape[0])])[:, None]
    noise = rng.random(tuple(shape), dtype=np.float32)
    return torch.from_numpy(masks), torch.from_numpy(noise)


def _draw_box(shape: Sequence[int], rng: np.random.Generator) -> tuple[slice, ...]:
    sides = [int(rng.integers(max(1, side // 8), max(1, side // 4) + 1)) for side in shape]
    starts = [int(rng.integers(side - length + 1)) for side, length in zip(shape, sides, strict=True)]
    return tuple(slice(start, start + length) for start, length in zip(starts, sides, strict=True))
