"""Averages of scores that may be undefined for some cases or sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Score = float | None
"""A score, or ``None`` where it is undefined, such as the Dice of a class that a case does not show."""


def mean_scores(scores: Sequence[Mapping[str, Score]], weights: Sequence[float] | None = None) -> dict[str, float]:
    """Average each name over the entries in which it is a finite number.

    Args:
        scores: one mapping a case or a site.
        weights: the weight of each entry; equal by default.

    Returns:
        The weighted mean of each name; a name that is finite nowhere is left out.
    """
    weights = weights if weights is not None else [1.0] * len(scores)
    means = {}
    for name in dict.fromkeys(name for entry in scores for name in entry):
        pairs = [(entry.get(name), weight) for entry, weight in zip(scores, weights, strict=True)]
        finite = [(value, weight) for value, weight in pairs if value is not None and math.isfinite(value) and weight]
        if finite:
            means[name] = sum(value * weight for value, weight in finite) / sum(weight for _, weight in finite)
    return means
