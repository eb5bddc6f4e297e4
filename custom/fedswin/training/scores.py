"""Averages of scores that may be undefined for some cases or sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

Score = float | None
"""A score, or ``None`` where it is undefined, such as the Dice of a class that a case does not show."""


class Validation(NamedTuple):
    """How a site scores a model.

    Attributes:
        metrics: the mean of each metric over the validation cases in which it is defined.
        scored: in how many cases that is, of the metrics that are not defined in all of them.
    """

    metrics: dict[str, float]
    scored: dict[str, int]


def validation_of(cases: Sequence[Mapping[str, Score]]) -> Validation:
    """Return the scores of a site, given those of each of its validation cases."""
    means = mean_scores(cases)
    counts = {name: sum(_is_finite(case.get(name)) for case in cases) for name in means}
    return Validation(means, {name: count for name, count in counts.items() if count < len(cases)})


def mean_scores(scores: Sequence[Mapping[str, Score]], weights: Sequence[float] | None = None) -> dict[str, float]:
    """Average each name over the entries in which it is a finite number.

    Args:
        scores: one mapping a case or a site.
        weights: the weight of each entry; equal by default.

    Returns:
        The weighted mean of each name, the same in any order of the entries; a name that is finite nowhere is left out.
    """
    weights = weights if weights is not None else [1.0] * len(scores)
    means = {}
    for name in dict.fromkeys(name for entry in scores for name in entry):
        pairs = [(entry.get(name), weight) for entry, weight in zip(scores, weights, strict=True)]
        finite = [(value, weight) for value, weight in pairs if _is_finite(value) and weight]
        if finite:
            total = math.fsum(weight for _, weight in finite)
            means[name] = math.fsum(value * weight for value, weight in finite) / total
    return means


def _is_finite(value: Score) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def global_scores(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores of a global model by those of the sites.

    A global metric is the mean over the sites that report it, each weighted by its validation cases. Only ``dice``,
    which picks ``best.pt``, is instead the mean of the global Dice of the classes: sites may have annotated different
    classes, and their own ``dice`` would count an easy organ as often as there are sites that annotated nothing else.

    Args:
        sites: ``metrics`` and ``validation_cases`` of each site, as in a line of ``metrics.jsonl``; either may be
            missing, and then the site has no part in the scores.
    """
    scores = [site.get("metrics") or {} for site in sites.values()]
    weights = [site.get("validation_cases") or 0 for site in sites.values()]
    return _with_dice_of_classes(mean_scores(scores, weights))


def pooled_scores(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores that a global model would have if all sites' validation cases lay in one place.

    They differ from `global_scores` where a site has cases in which a metric is undefined: such a case counts for the
    site's weight there, and not here. An organ that few cases of a large site show then weighs less.

    Args:
        sites: as for `global_scores`; ``scored`` says in how many cases a metric is defined, if not in all of them.
    """
    means: dict[str, float] = {}
    for name in dict.fromkeys(name for site in sites.values() for name in site.get("metrics") or {}):
        scores = [{name: (site.get("metrics") or {}).get(name)} for site in sites.values()]
        means |= mean_scores(scores, [_cases_scored(site, name) for site in sites.values()])
    return _with_dice_of_classes(means)


def _cases_scored(site: Mapping[str, Any], name: str) -> float:
    return (site.get("scored") or {}).get(name, site.get("validation_cases") or 0)


def _with_dice_of_classes(means: dict[str, float]) -> dict[str, float]:
    by_class = [{"dice": value} for name, value in means.items() if name.startswith("dice_")]
    return means | mean_scores(by_class)
