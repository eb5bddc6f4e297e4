"""How alike the directions of two models' steps are, without keeping the steps: a random projection to few numbers.

A step of any size becomes 65,536 numbers: every parameter gets a random sign and a place, and what falls on one place
is added up (Charikar et al., 2002, "Finding frequent items in data streams"; the signs are fixed, so all steps are
projected alike). The cosine of two sketches is that of the two steps to within about 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedswin.seeds import generator

_PLACES = 1 << 16

Sketch = NDArray[np.float64]


def sketch_step(new: Mapping[str, np.ndarray], old: Mapping[str, np.ndarray]) -> Sketch:
    """Return the sketch of the step from ``old`` to ``new``, both under the same names and in the same shapes."""
    total = np.zeros(_PLACES)
    for name in old:
        total += _project(np.subtract(new[name], old[name]).ravel(), generator(0, "sketch", name))
    return total


def cosine(one: Sketch, other: Sketch) -> float | None:
    """Return the cosine between two steps, -1 to 1; ``None`` if one of them is no step at all."""
    product = math.sqrt(float(one @ one) * float(other @ other))
    return max(-1.0, min(1.0, float(one @ other) / product)) if product else None


def _project(values: np.ndarray, rng: np.random.Generator) -> Sketch:
    bits = np.unpackbits(np.frombuffer(rng.bytes(values.size // 8 + 1), np.uint8), count=values.size)
    signed = np.where(bits, values, -values)
    rows = values.size // _PLACES
    places = signed[: rows * _PLACES].reshape(rows, _PLACES).sum(axis=0, dtype=np.float64)
    places[: values.size % _PLACES] += signed[rows * _PLACES :]
    return np.roll(places, int(rng.integers(_PLACES)))  # small tensors would all crowd the first places
