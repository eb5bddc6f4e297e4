"""What makes one patient differ from another: drawn here, applied in ``organs``, ``frame`` and ``render``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedswin.data.phantom.tissue import BTCV_ORGANS
from fedswin.data.phantom.warp import Lattice, draw_lattice

# (largest shift in mm, largest change of size); vessels and glands keep their neighbours: they move little.
_JITTER: dict[str, tuple[float, float]] = {
    "spleen": (4.0, 0.12),
    "right_kidney": (5.0, 0.05),
    "left_kidney": (5.0, 0.05),
    "gallbladder": (4.0, 0.12),
    "liver": (3.0, 0.04),
    "stomach": (5.0, 0.12),
    "pancreas": (2.0, 0.10),
    "right_adrenal_gland": (2.0, 0.10),
    "left_adrenal_gland": (2.0, 0.10),
}
_VESSEL = (1.0, 0.10)


@dataclass(frozen=True)
class Jitter:
    """How one organ differs from the standard one: ``shift`` in mm along x, y, z and a factor ``size``."""

    shift: tuple[float, float, float]
    size: float


@dataclass(frozen=True)
class Patient:
    """One patient's anatomy relative to the standard one.

    Attributes:
        scale: size along x, y and z relative to the standard anatomy.
        fat: thickness of the fat under the skin in mm, before ``scale``.
        jitter: shift and size of every BTCV organ.
        lattices: smooth deformations of the whole body.
        gas: height above the middle of the stomach in mm at which its gas begins.
        bowel: shape (n, 4): centre x, y, z and radius in mm of small-bowel loops.
        enhancement: factor on the contrast-dependent HU, around 1.
    """

    scale: tuple[float, float, float]
    fat: float
    jitter: Mapping[str, Jitter]
    lattices: tuple[Lattice, ...]
    gas: float
    bowel: tuple[tuple[float, float, float, float], ...]
    enhancement: float


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw one adult patient."""
    height = rng.uniform(0.96, 1.05)
    width, depth = height * rng.uniform(0.97, 1.04, 2)
    return Patient(
        scale=(float(width), float(depth), float(height)),
        fat=float(rng.uniform(10, 28)),
        jitter={organ: _draw_jitter(rng, *_JITTER.get(organ, _VESSEL)) for organ in BTCV_ORGANS},
        lattices=(draw_lattice(rng, 75.0, 20.0), draw_lattice(rng, 34.0, 6.0)),
        gas=float(rng.uniform(2, 16)),
        bowel=_draw_bowel(rng),
        enhancement=float(rng.uniform(0.94, 1.06)),
    )


def _draw_jitter(rng: np.random.Generator, shift: float, size: float) -> Jitter:
    x, y, z = rng.uniform(-shift, shift, 3)
    return Jitter((float(x), float(y), float(z)), float(1 + rng.uniform(-size, size)))


def _draw_bowel(rng: np.random.Generator) -> tuple[tuple[float, float, float, float], ...]:
    """Draw loops in the front of the lower abdomen, below stomach and pancreas."""
    low, high = (-80.0, -5.0, -185.0, 11.0), (70.0, 64.0, -60.0, 17.0)
    loops = rng.uniform(low, high, (44, 4))
    return tuple((float(x), float(y), float(z), float(radius)) for x, y, z, radius in loops)
