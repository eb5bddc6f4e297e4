"""Bring the slices of a tilted or uneven stack onto a regular grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedswin.data.convert.source import Volume
from fedswin.data.convert.stack import Stack

_AIR_HU = -1024.0


def regrid(stack: Stack, voxels: NDArray[np.float32]) -> Volume:
    """Interpolate a stack linearly, in three dimensions, onto the regular grid across which its slices lie.

    Each slice is put where it is (which undoes a tilt of the gantry), and then the values between slices are
    interpolated. The grid has the slices' own pixels, widened to hold them all, and the smallest of their steps;
    outside a slice it holds air, or the lowest value if that is lower. A field that is linear in space comes back as
    it is.

    Args:
        stack: where the slices lie.
        voxels: (x, y, slices), HU.

    Returns:
        HU as float32 (x, y, z).
    """
    spacing = np.array(stack.slices[0].spacing)
    pixels = stack.shifts / spacing
    first = np.floor(pixels.min(axis=0)).astype(int)
    shape = tuple(np.array(voxels.shape[:2]) + np.ceil(pixels.max(axis=0)).astype(int) - first)
    step = float(stack.steps.min())
    heights = np.arange(int(stack.heights[-1] / step + 1e-6) + 1) * step
    fill = min(_AIR_HU, float(voxels.min()))
    placed = [_placed(voxels[..., k], shape, pixels[k] - first, fill) for k in range(voxels.shape[2])]
    below = np.clip(np.searchsorted(stack.heights, heights, side="right") - 1, 0, len(placed) - 2)
    share = ((heights - stack.heights[below]) / stack.steps[below]).astype(np.float32)
    result = np.stack(
        [(1 - part) * placed[k] + part * placed[k + 1] for k, part in zip(below, share, strict=True)], axis=2
    )
    return Volume(result, stack.affine(step, first * spacing), (_note(stack, step),))


def _placed(
    image: NDArray[np.float32], shape: tuple[int, ...], offset: NDArray[np.float64], fill: float
) -> NDArray[np.float32]:
    """Return a slice on a plane of ``shape``, its first pixel at ``offset`` pixels."""
    return ndimage.affine_transform(image, np.ones(2), -offset, shape, order=1, mode="constant", cval=fill)


def _note(stack: Stack, step: float) -> str:
    steps = f"{stack.steps.min():.2f} to {stack.steps.max():.2f} mm"
    return f"resampled: gantry tilt {stack.tilt:.1f} degrees, steps {steps}; now upright, every {step:.2f} mm"
