"""What the aggregation rules share: they work on flat pieces of a model, one at a time.

A piece and all that is computed from it fit in a processor's cache. So there are no temporary arrays of the size of a
parameter, and no time is lost on moving them to and from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from fedswin.federation.aggregation.fixed_point import MAX_TERM, MAX_TERMS
from fedswin.federation.refusal import UpdateRefusedError

_PIECE = 2**13  # values; 64 kB in float64, below the 128 kB from which malloc asks the system for fresh pages


class Piece(Protocol):
    """Aggregates the same few thousand values of every model."""

    def add(self, values: np.ndarray, weight: int) -> None:
        """Add one model's ``values`` (float32, flat); ``weight`` times each is below `MAX_TERM` in magnitude."""

    def mean(self) -> np.ndarray:
        """Return the aggregate of the values that have been added (float32, flat)."""


class PiecewiseRule:
    """Aggregates the models of one round, each of which an `UpdateGuard` has let pass.

    Memory is taken when the first model is added.

    Args:
        shapes: the name and shape of every array of a model.
        new_piece: makes the `Piece` for so many values.
        needed: from fewer models there is no aggregate.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], new_piece: Callable[[int], Piece], needed: int = 1
    ) -> None:
        self._shapes = dict(shapes)
        self._new_piece = new_piece
        self._needed = needed
        self._pieces: dict[str, list[Piece]] = {}
        self._models = 0

    @property
    def models(self) -> int:
        """How many models have been added since the last mean."""
        return self._models

    def add(self, arrays: Mapping[str, np.ndarray], weight: int) -> None:
        """Add a model of float32 arrays with an integer weight, such as its site's number of cases.

        Raises:
            UpdateRefusedError: if a value is too large for its weight, or there are too many models. Nothing is added
                then.
        """
        if self._models == MAX_TERMS:
            raise UpdateRefusedError(f"there are {MAX_TERMS} updates in this round, and no room for more")
        for name in self._shapes:
            _check_range(name, arrays[name], MAX_TERM / weight)
        for name in self._shapes:
            self._add_array(name, arrays[name], weight)
        self._models += 1

    def mean(self) -> dict[str, np.ndarray]:
        """Return the aggregate as float32 arrays, and start anew: what was kept of the models goes array by array.

        Raises:
            UpdateRefusedError: if too few models have been added.
        """
        if self._models < self._needed:
            raise UpdateRefusedError(f"{self._models} updates to average, at least {self._needed} are needed")
        self._models = 0
        return {name: _mean(self._pieces.pop(name), shape) for name, shape in self._shapes.items()}

    def _add_array(self, name: str, array: np.ndarray, weight: int) -> None:
        parts = _parts(array.reshape(-1))
        if name not in self._pieces:
            self._pieces[name] = [self._new_piece(part.size) for part in parts]
        for piece, part in zip(self._pieces[name], parts, strict=True):
            piece.add(part, weight)


def _mean(pieces: Sequence[Piece], shape: tuple[int, ...]) -> np.ndarray:
    mean = np.empty(shape, np.float32)
    for piece, part in zip(pieces, _parts(mean.reshape(-1)), strict=True):
        part[:] = piece.mean()
    return mean


def _parts(values: np.ndarray) -> list[np.ndarray]:
    """Cut flat ``values`` into views of the size of a piece, and of what is left."""
    return np.split(values, range(_PIECE, values.size, _PIECE))


def _check_range(name: str, array: np.ndarray, limit: float) -> None:
    largest = max(array.max(initial=0), -array.min(initial=0))
    if not largest < limit:  # also true for NaN
        raise UpdateRefusedError(f"{name} holds a value of magnitude {largest:.3g}, the limit is {limit:.3g}")
