"""Which updates may enter the global model: right names, shapes and dtype, finite, and of a plausible size."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np

from fedswin.federation.refusal import UpdateRefusedError
from fedswin.weights.file import mismatch

_MAX_WEIGHT = 1_000_000
_ROUNDS = 5
_PIECE = 2**13  # values, so that a piece in float64 stays in a processor's cache


class UpdateGuard:
    """Checks every update of a study before it is aggregated.

    An update is judged by the norms of earlier rounds only, so the verdict does not depend on the order in which the
    sites of a round answer.

    Args:
        shapes: the name and shape of every array of a model.
        max_norm_ratio: the largest norm of an update, as a multiple of the median of the norms accepted in the last 5
            rounds; ``None`` takes any.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], max_norm_ratio: float | None) -> None:
        self._shapes = dict(shapes)
        self._max_norm_ratio = max_norm_ratio
        self._norms: deque[list[float]] = deque(maxlen=_ROUNDS)

    def check(self, update: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], weight: int) -> float:
        """Return the L2 norm of ``update - reference``.

        Args:
            update: a site's trained model; each array is read once, so that it may be made when it is.
            reference: the global model that the site started from.
            weight: what the site is to weigh in the mean.

        Raises:
            UpdateRefusedError: if the weight is no integer from 1 to 1,000,000, a key is missing or unknown, a shape
                or dtype differs, a value is not finite, or the norm is too large.
        """
        _check_weight(weight)
        if problem := mismatch(dict.fromkeys(self._shapes, ()), dict.fromkeys(update, ())):
            raise UpdateRefusedError(problem)
        norm = math.sqrt(
            math.fsum(self._squared_distance(name, update[name], reference[name]) for name in self._shapes)
        )
        self._check_norm(norm)
        return norm

    def close_round(self, norms: Iterable[float]) -> None:
        """Judge the next rounds by the ``norms`` accepted in this one, too."""
        if accepted := list(norms):  # rounds that failed must not push the norms of good ones out
            self._norms.append(accepted)

    def state_dict(self) -> dict[str, list[list[float]]]:
        """Return what a resumed study needs to judge alike."""
        return {"norms": [list(norms) for norms in self._norms]}

    def load_state_dict(self, state: Mapping[str, list[list[float]]]) -> None:
        """Go on from what `state_dict` returned."""
        self._norms = deque(state["norms"], maxlen=_ROUNDS)

    def _squared_distance(self, name: str, array: np.ndarray, reference: np.ndarray) -> float:
        if problem := mismatch({name: self._shapes[name]}, {name: array.shape}):
            raise UpdateRefusedError(problem)
        if array.dtype != np.float32:
            raise UpdateRefusedError(f"{name} is {array.dtype}, expected float32")
        distance = _squared_distance(array.reshape(-1), reference.reshape(-1))
        if not math.isfinite(distance):  # the squares of finite float32 values are, and their sum is
            bad = array.size - np.count_nonzero(np.isfinite(array))
            raise UpdateRefusedError(f"{name} holds {bad} values that are not finite")
        return distance

    def _check_norm(self, norm: float) -> None:
        recent = [value for norms in self._norms for value in norms]
        median = statistics.median(recent) if recent else 0.0
        if self._max_norm_ratio is not None and median and norm > self._max_norm_ratio * median:
            raise UpdateRefusedError(
                f"the norm is {norm:.3g}, {norm / median:.3g} times the median of the recent rounds; "
                f"max_norm_ratio is {self._max_norm_ratio:g}"
            )


def _check_weight(weight: int) -> None:
    if isinstance(weight, bool) or not isinstance(weight, int):
        raise UpdateRefusedError(f"the weight must be an integer, found a {type(weight).__name__}")
    if not 0 < weight <= _MAX_WEIGHT:
        raise UpdateRefusedError(f"the weight must be from 1 to {_MAX_WEIGHT}, found {weight}")


def _squared_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the squared distance in float64 of two flat arrays; it is not finite if one of their values is not."""
    total = 0.0
    for start in range(0, one.size, _PIECE):
        difference = np.subtract(one[start : start + _PIECE], other[start : start + _PIECE], dtype=np.float64)
        total += float(np.square(difference, out=difference).sum())
    return total
