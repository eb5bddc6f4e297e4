"""Quarter turns about a patient axis, drawn in one function and applied in another (paper, section 4.2)."""

from __future__ import annotations

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
    turned = torch.empty_like(volumes)
    for place, volume, turn in zip(turned, volumes, turns.tolist(), strict=True):
        place.copy_(torch.rot90(volume, turn, _PLANES[axis]))
    return turned
