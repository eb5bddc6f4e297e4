"""Implicit shapes in millimetres: negative inside, positive outside, about a distance near the surface.

Every shape answers two questions: ``distance(points)`` and ``bounds()``, the box that holds it, so that
a renderer visits only the voxels that can be inside. ``points`` are three broadcastable arrays x, y, z
(mm, x to the patient's right, y to the front, z to the head).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Points = tuple[Array, Array, Array]
Vector = Sequence[float]
Bounds = tuple[Array, Array]
EVERYWHERE: Bounds = (np.full(3, -np.inf), np.full(3, np.inf))


class Shape(Protocol):
    """A solid in millimetres."""

    def distance(self, points: Points) -> Array:
        """Return values below 0 inside and above 0 outside, in about mm, broadcast over ``points``."""

    def bounds(self) -> Bounds:
        """Return the lowest and highest corner (mm, three values each) of a box around the solid."""


def rotation(degrees: Vector) -> Array:
    """Return the 3x3 matrix that turns about x, then y, then z by ``degrees``."""
    turns = []
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    result: Array = turns[2] @ turns[1] @ turns[0]
    return result


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid: ``centre`` and half axes ``radii`` in mm, turned by ``degrees`` about x, y and z."""

    centre: Vector
    radii: Vector
    degrees: Vector = (0.0, 0.0, 0.0)

    def distance(self, points: Points) -> Array:
        """Return the signed distance, exact on the surface and scaled by the smallest radius off it."""
        x, y, z = (p - np.float32(c) for p, c in zip(points, self.centre, strict=True))
        rows = (rotation(self.degrees).T / np.asarray(self.radii)[:, None]).astype(np.float32)
        squares = [np.square(row[0] * x + row[1] * y + row[2] * z) for row in rows]
        norm: Array = np.sqrt(squares[0] + squares[1] + squares[2])
        return (norm - np.float32(1)) * np.float32(min(self.radii))

    def bounds(self) -> Bounds:
        """Return the tight box around the turned ellipsoid."""
        reach = np.sqrt(np.square(rotation(self.degrees) * np.asarray(self.radii)).sum(1))
        return np.asarray(self.centre) - reach, np.asarray(self.centre) + reach


@dataclass(frozen=True)
class Tube:
    """A tube along the polyline ``path`` (n points, mm), with a radius in mm at every point."""

    path: Sequence[Vector]
    radii: Vector

    def distance(self, points: Points) -> Array:
        """Return the signed distance to the nearest piece, its radius interpolated along it."""
        ends = zip(np.asarray(self.path, np.float32), self.radii, strict=True)
        pieces = (_piece(points, *start, *end) for start, end in pairwise(ends))
        return reduce(np.minimum, pieces)

    def bounds(self) -> Bounds:
        """Return the box around all points with their radii."""
        path, radii = np.asarray(self.path), np.asarray(self.radii)[:, None]
        return (path - radii).min(0), (path + radii).max(0)


def _piece(points: Points, start: Array, r0: float, end: Array, r1: float) -> Array:
    along = end - start
    x, y, z = (p - c for p, c in zip(points, start, strict=True))
    t = np.clip((x * along[0] + y * along[1] + z * along[2]) / np.float32(along @ along), 0, 1)
    squares = [np.square(p - t * a) for p, a in zip((x, y, z), along, strict=True)]
    far: Array = np.sqrt(squares[0] + squares[1] + squares[2])
    return far - (np.float32(r0) + t * np.float32(r1 - r0))


@dataclass(frozen=True)
class Column:
    """A column along z with a superelliptic cross-section, whole or cut into equal blocks.

    Attributes:
        centre: x, y in mm.
        radii: half widths along x and y in mm.
        power: 2 is an ellipse; more is boxier.
        period: distance in mm from block to block; 0 for one whole column.
        height: height of a block in mm.
    """

    centre: Vector
    radii: Vector
    power: float = 2.0
    period: float = 0.0
    height: float = 0.0

    def distance(self, points: Points) -> Array:
        """Return the distance to the side of the column and, if it is cut, to the ends of the block."""
        x = np.abs(points[0] - np.float32(self.centre[0])) / np.float32(self.radii[0])
        y = np.abs(points[1] - np.float32(self.centre[1])) / np.float32(self.radii[1])
        ring = (x**self.power + y**self.power) ** (1 / self.power)
        side: Array = (ring - np.float32(1)) * np.float32(min(self.radii))
        if not self.period:
            return side
        along = np.abs(np.mod(points[2], self.period) - self.period / 2) - self.height / 2
        return np.maximum(side, along)

    def bounds(self) -> Bounds:
        """Return the box; it has no end along z."""
        low = [c - r for c, r in zip(self.centre, self.radii, strict=True)]
        high = [c + r for c, r in zip(self.centre, self.radii, strict=True)]
        return np.array([*low, -np.inf]), np.array([*high, np.inf])


@dataclass(frozen=True)
class HalfSpace:
    """All points behind the plane through ``point`` (mm) with the outward ``normal``."""

    point: Vector
    normal: Vector

    def distance(self, points: Points) -> Array:
        """Return the signed distance to the plane in mm."""
        n = (np.asarray(self.normal) / np.linalg.norm(self.normal)).astype(np.float32)
        x, y, z = (p - np.float32(c) for p, c in zip(points, self.point, strict=True))
        result: Array = n[0] * x + n[1] * y + n[2] * z
        return result

    def bounds(self) -> Bounds:
        """Return a box without ends."""
        return EVERYWHERE


@dataclass(frozen=True)
class Union:
    """The union of ``parts``; ``blend`` mm rounds the seams between them."""

    parts: Sequence[Shape]
    blend: float = 0.0

    def distance(self, points: Points) -> Array:
        """Return the smallest distance, lowered near a seam by at most a quarter of ``blend``."""
        return reduce(self._join, (part.distance(points) for part in self.parts))

    def _join(self, a: Array, b: Array) -> Array:
        lowest: Array = np.minimum(a, b)
        if not self.blend:
            return lowest
        near = np.maximum(np.float32(self.blend) - np.abs(a - b), 0)
        return lowest - np.square(near) / np.float32(4 * self.blend)

    def bounds(self) -> Bounds:
        """Return the box around all parts, with room for the rounded seams."""
        boxes = [part.bounds() for part in self.parts]
        low, high = np.min([box[0] for box in boxes], 0), np.max([box[1] for box in boxes], 0)
        return low - self.blend / 4, high + self.blend / 4


@dataclass(frozen=True)
class Intersection:
    """What all ``parts`` have in common."""

    parts: Sequence[Shape]

    def distance(self, points: Points) -> Array:
        """Return the largest distance."""
        return reduce(np.maximum, (part.distance(points) for part in self.parts))

    def bounds(self) -> Bounds:
        """Return the box that the boxes of all parts share."""
        boxes = [part.bounds() for part in self.parts]
        return np.max([box[0] for box in boxes], 0), np.min([box[1] for box in boxes], 0)


@dataclass(frozen=True)
class Outside:
    """Everything that is not in ``shape``; intersect with it to take a piece away."""

    shape: Shape

    def distance(self, points: Points) -> Array:
        """Return the distance with its sign turned."""
        return -self.shape.distance(points)

    def bounds(self) -> Bounds:
        """Return a box without ends."""
        return EVERYWHERE


@dataclass(frozen=True)
class Shrunk:
    """``shape`` with ``depth`` mm taken off its surface."""

    shape: Shape
    depth: float

    def distance(self, points: Points) -> Array:
        """Return the distance to the lowered surface."""
        return self.shape.distance(points) + np.float32(self.depth)

    def bounds(self) -> Bounds:
        """Return the box of the whole shape."""
        return self.shape.bounds()
