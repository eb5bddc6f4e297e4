"""How alike the directions of two models' steps are, without keeping the steps: a random projection to few numbers.

A step of any size becomes 65,536 numbers: every parameter gets a random sign and a place, and what falls on one place
is added up (Charikar et al., 2002, "Finding frequent items in data streams"; the signs are fixed, so all steps are
projected alike). The cosine of two sketches is that of the two steps to within about 0.01. A sign for each parameter
would take longer to draw than a step to be added, so 65,536 parameters in a row get signs from a table that all share,
from a random entry on, and places from a random one on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedswin.seeds import generator

_PLACES = 1 << 16
_SIGNS = generator(0, "sketch").choice(np.array([-1, 1], np.float32), 2 * _PLACES)

Sketch = NDArray[np.float64]


def sketch_step(new: Mapping[str, np.ndarray], old: Mapping[str, np.ndarray]) -> Sketch:
    """Return the sketch of the step from ``old`` to ``new``, both under the same names and in the same shapes."""
    places = np.zeros(2 * _PLACES)  # the second half stands for the first once more, so that a row may start anywhere
    for name in old:
        rng = generator(0, "sketch", name)
        ends, starts = new[name].reshape(-1), old[name].reshape(-1)
        for row in range(0, starts.size, _PLACES):
            step = ends[row : row + _PLACES] - starts[row : row + _PLACES]
            sign, place = rng.integers(_PLACES, size=2)
            step *= _SIGNS[sign : sign + step.size]
            places[place : place + step.size] += step
    return places[:_PLACES] + places[_PLACES:]


def cosine(one: Sketch, other: Sketch) -> float | None:
    """Return the cosine between two steps, -1 to 1; ``None`` if one of them is no step at all."""
    product = math.sqrt(float(one @ one) * float(other @ other))
    return max(-1.0, min(1.0, float(one @ other) / product)) if product else None
