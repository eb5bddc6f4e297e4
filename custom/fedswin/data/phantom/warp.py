"""Smooth random deformation of coordinates: a cubic B-spline over a lattice of displacements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedswin.data.phantom.shapes import Points

Array = NDArray[Any]


@dataclass(frozen=True)
class Lattice:
    """Displacements on a cubic lattice around the origin.

    Attributes:
        step: distance between neighbouring lattice points in mm.
        displacement: shape (3, n, n, n), mm: the move along x, y and z.
    """

    step: float
    displacement: Array

    def sample(self, axes: Sequence[Array]) -> list[Array]:
        """Return the three displacements in mm on the grid spanned by ``axes``, each (nx, ny, nz)."""
        bases = [self._basis(axis) for axis in axes]
        return [_spline(component, bases) for component in self.displacement]

    def _basis(self, axis: Array) -> Array:
        count = self.displacement.shape[1]
        places = (np.arange(count) - (count - 1) / 2) * self.step
        return _cubic(np.abs(axis[:, None] - places[None]) / self.step).astype(np.float32)


def draw_lattice(rng: np.random.Generator, step: float, amplitude: float, extent: float = 300.0) -> Lattice:
    """Draw a lattice that covers ``-extent..extent`` mm with moves of at most ``amplitude`` mm."""
    count = 2 * int(np.ceil(extent / step)) + 1
    moves = rng.uniform(-amplitude, amplitude, (3, count, count, count))
    return Lattice(step, moves.astype(np.float32))


def warp(axes: Sequence[Array], scale: Sequence[float], lattices: Sequence[Lattice]) -> Points:
    """Return for every grid point of ``axes`` (mm) the point of the standard anatomy that lies there.

    Args:
        axes: three rising 1-d arrays in mm.
        scale: the patient's size relative to the standard anatomy along x, y and z.
        lattices: deformations to add, in mm of the standard anatomy.

    Returns:
        Three float32 arrays of shape (nx, ny, nz) in mm.
    """
    standard = [(axis / factor).astype(np.float32) for axis, factor in zip(axes, scale, strict=True)]
    points = list(np.meshgrid(*standard, indexing="ij"))
    for lattice in lattices:
        points = [point + move for point, move in zip(points, lattice.sample(standard), strict=True)]
    return points[0], points[1], points[2]


def _spline(values: Array, bases: Sequence[Array]) -> Array:
    """Return the tensor product of ``values`` (n, n, n) with a basis (points, n) along every axis."""
    for basis in bases:  # each turn sums over the first axis and puts the new one last
        values = np.tensordot(values, basis, axes=([0], [1]))
    return values


def _cubic(distance: Array) -> Array:
    """Return the uniform cubic B-spline at ``distance`` in lattice steps."""
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    result: Array = np.where(distance < 1, near, far)
    return result
