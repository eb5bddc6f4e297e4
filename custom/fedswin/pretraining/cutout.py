"""Cut-out: what is hidden from the model in each view, drawn in one function and applied in another.

Every draw comes from the generator it is given, so that the same seed hides the same voxels whatever the
device, the batch, or the order of the calls around it. All volumes are windowed to 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Box = tuple[slice, ...]
"""The voxels of a box in a volume (X, Y, Z)."""

_SHORTEST, _LONGEST = 0.05, 0.25
"""The reference code's bounds for the sides of a box, as shares of the volume's."""


def cut_out(volumes: Tensor, rate: float, rng: np.random.Generator) -> Tensor:
    """Replace exactly ``rate`` (to 0.01) of the voxels of each of (B, 1, X, Y, Z) by noise (paper, section 5.2)."""
    dropped, noise = draw_dropped_voxels(volumes.shape, rate, rng)
    return torch.where(dropped, noise, volumes)


def draw_dropped_voxels(shape: Sequence[int], rate: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw cut-out masks and noise for a batch of ``shape`` (B, 1, X, Y, Z).

    The noise is uniform over 0 to 1, the range of windowed intensities.
    """
    masks = np.stack([draw_mask(shape[2:], rate, rng) for _ in range(shape[0])])[:, None]
    noise = rng.random(tuple(shape), dtype=np.float32)
    return torch.from_numpy(masks), torch.from_numpy(noise)


def draw_mask(shape: Sequence[int], rate: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the voxels to drop: boxes, none longer than a quarter of the side, until ``rate`` is reached.

    The last box is cut to the slices that are needed, which keeps the share below ``rate`` + 0.01.

    Returns:
        A boolean array of ``shape`` (X, Y, Z), true where the voxel is dropped.
    """
    mask = np.zeros(shape, dtype=bool)
    missing = int(np.ceil(rate * mask.size))
    while missing > 0:
        box = _draw_box(shape, rng)
        fresh = np.cumsum(np.count_nonzero(~mask[box], axis=(1, 2)))
        slices = int(np.searchsorted(fresh, missing)) + 1
        mask[box][:slices] = True
        missing -= int(fresh[:slices][-1])
    return mask


class Patch(NamedTuple):
    """A box of view ``view`` that is overwritten: by ``noise`` (X, Y, Z), or by the same box of view ``source``."""

    view: int
    box: Box
    source: int | None = None
    noise: Tensor | None = None


def noise_and_swap(volumes: Tensor, rate: float, rng: np.random.Generator) -> Tensor:
    """Overwrite voxels of (2 N, 1, X, Y, Z) as the paper's reference code does, see `draw_patches`."""
    return overwrite(volumes, draw_patches(volumes.shape, rate, rng))


def draw_patches(shape: Sequence[int], rate: float, rng: np.random.Generator) -> list[Patch]:
    """Draw the reference code's cut-out for two views of N sub-volumes, stacked to ``shape`` (2 N, 1, X, Y, Z).

    View by view, boxes of noise up to a share that is itself drawn from 0 to ``rate``, then as much again copied from
    another view, unless the draw of that view hits the view itself. It is drawn among the N first views for a first
    one and among the N second views for a second one (the reference code's ``aug_rand``, which is called for each set
    of views), so never a view of the same sub-volume. Boxes overlap and each counts in full, so anything from nothing
    to twice ``rate`` is lost, half of ``rate`` to ``rate`` on average.
    """
    views, sides = shape[0], shape[2:]
    count = views // 2
    patches = []
    for view in range(views):
        patches += [Patch(view, box, noise=_noise(box, rng)) for box in _draw_boxes(sides, rate, rng)]
        source = view - view % count + int(rng.integers(count))
        if source != view:
            patches += [Patch(view, box, source) for box in _draw_boxes(sides, rate, rng)]
    return patches


def overwrite(volumes: Tensor, patches: Sequence[Patch]) -> Tensor:
    """Apply ``patches`` in their order to a copy of ``volumes``; what is copied may be overwritten already."""
    result = volumes.clone()
    for view, box, source, noise in patches:
        result[view, 0][box] = noise if noise is not None else result[source, 0][box].clone()
    return result


CUTOUTS: dict[str, Callable[[Tensor, float, np.random.Generator], Tensor]] = {
    "noise": cut_out,
    "noise_and_swap": noise_and_swap,
}
"""The values of the setting ``pretraining.cutout``."""


def _draw_box(shape: Sequence[int], rng: np.random.Generator) -> Box:
    sides = [int(rng.integers(max(1, side // 8), max(1, side // 4) + 1)) for side in shape]
    starts = [int(rng.integers(side - length + 1)) for side, length in zip(shape, sides, strict=True)]
    return tuple(slice(start, start + length) for start, length in zip(starts, sides, strict=True))


def _draw_boxes(sides: Sequence[int], rate: float, rng: np.random.Generator) -> list[Box]:
    """Draw boxes until their voxels, overlaps counted twice, reach a share drawn from 0 to ``rate``."""
    wanted = rng.uniform(0, rate) * np.prod(sides)
    boxes: list[Box] = []
    while wanted > 0:
        starts = [int(rng.integers(side - int(_SHORTEST * side))) for side in sides]
        lengths = [int(rng.integers(int(_SHORTEST * side), int(_LONGEST * side))) for side in sides]
        ends = [min(start + length, side) for start, length, side in zip(starts, lengths, sides, strict=True)]
        boxes.append(tuple(slice(start, end) for start, end in zip(starts, ends, strict=True)))
        wanted -= np.prod([end - start for start, end in zip(starts, ends, strict=True)])
    return boxes


def _noise(box: Box, rng: np.random.Generator) -> Tensor:
    """Normal noise, stretched to 0 to 1 within the box."""
    noise = rng.standard_normal([side.stop - side.start for side in box], dtype=np.float32)
    spread = max(float(noise.max() - noise.min()), np.finfo(np.float32).tiny)  # a box may be a single voxel
    return torch.from_numpy((noise - noise.min()) / spread)
