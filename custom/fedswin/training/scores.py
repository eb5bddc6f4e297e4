"""Averages of scores that may be undefined for some cases or sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

Score = float | None
"""A score, or ``None`` where it is undefined, such as the Dice of a class that a case does not show."""


_OVER_PATIENTS = "rotation_accuracy"
"""The metric that is a mean over patients instead of cases."""
DEVIATION = "_sd"
"""Ends the name under which the standard deviation between patients of such a metric is told."""


class Validation(NamedTuple):
    """How a site scores a model.

    Attributes:
        metrics: the mean of each metric over the validation cases in which it is defined.
        scored: in how many cases that is, of the metrics that are not defined in all of them; of one that is a mean
            over patients, over how many, if they are fewer than the cases.
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

    A global metric is the mean over the sites that report it, each weighted by its validation cases. ``dice``, which
    picks ``best.pt``, is instead the mean of the global Dice of the classes: sites may have annotated different
    classes, and their own ``dice`` would count an easy organ as often as there are sites that annotated nothing else.
    ``rotation_accuracy`` and its standard deviation are those of all sites' patients.

    Args:
        sites: ``metrics`` and ``validation_cases`` of each site, as in a line of ``metrics.jsonl``; either may be
            missing, and then the site has no part in the scores.
    """
    scores = [site.get("metrics") or {} for site in sites.values()]
    weights = [site.get("validation_cases") or 0 for site in sites.values()]
    return _with_patients(_with_dice_of_classes(mean_scores(scores, weights)), sites)


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
    return _with_patients(_with_dice_of_classes(means), sites)


class Sample(NamedTuple):
    """A score of several patients.

    Attributes:
        patients: how many they are.
        mean: the mean of their scores.
        deviation: the standard deviation of their scores, with ``patients - 1`` in the denominator; ``None`` of one
            patient, or if it is not known.
    """

    patients: int
    mean: float
    deviation: float | None


def sample_of(scores: Sequence[float]) -> Sample | None:
    """Return the sample of one score a patient; ``None`` without a patient."""
    return combined([Sample(1, score, None) for score in scores])


def combined(samples: Sequence[Sample]) -> Sample | None:
    """Return the sample of all patients of disjoint ``samples``, as if their scores were known one by one.

    The sum of squares about the common mean is that within the samples and that between them. The deviation is not
    known if one of several patients has none. ``None`` without a sample.
    """
    patients = sum(sample.patients for sample in samples)
    if not patients:
        return None
    mean = math.fsum(sample.patients * sample.mean for sample in samples) / patients
    if patients == 1 or any(sample.deviation is None for sample in samples if sample.patients > 1):
        return Sample(patients, mean, None)
    within = math.fsum((sample.patients - 1) * (sample.deviation or 0.0) ** 2 for sample in samples)
    between = math.fsum(sample.patients * (sample.mean - mean) ** 2 for sample in samples)
    return Sample(patients, mean, math.sqrt((within + between) / (patients - 1)))


def rotation_samples(sites: Mapping[str, Mapping[str, Any]]) -> list[Sample]:
    """Return the rotation accuracy of each site that reports it, as the patients' shares of views that are right.

    Args:
        sites: as for `pooled_scores`.
    """
    samples = []
    for site in sites.values():
        metrics, patients = site.get("metrics") or {}, _cases_scored(site, _OVER_PATIENTS)
        mean, deviation = metrics.get(_OVER_PATIENTS), metrics.get(_OVER_PATIENTS + DEVIATION)
        if _is_finite(mean) and patients:
            samples.append(Sample(patients, mean, deviation if _is_finite(deviation) else None))
    return samples


def _cases_scored(site: Mapping[str, Any], name: str) -> int:
    return (site.get("scored") or {}).get(name, site.get("validation_cases") or 0)


def _with_patients(means: dict[str, float], sites: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return ``means`` with the rotation accuracy and the standard deviation of all sites' patients."""
    others = {name: value for name, value in means.items() if name != _OVER_PATIENTS + DEVIATION}
    sample = combined(rotation_samples(sites))
    if sample is None:
        return others
    deviation = {} if sample.deviation is None else {_OVER_PATIENTS + DEVIATION: sample.deviation}
    return {**others, _OVER_PATIENTS: sample.mean, **deviation}


def _with_dice_of_classes(means: dict[str, float]) -> dict[str, float]:
    by_class = [{"dice": value} for name, value in means.items() if name.startswith("dice_")]
    return means | mean_scores(by_class)
