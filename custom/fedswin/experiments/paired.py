"""Paired differences to the same runs from scratch, with intervals over seeds and patients.

An interval is that of a hierarchical bootstrap (percentiles): in each replicate the seeds of pre-training and those of
fine-tuning are drawn again, with replacement, and then the patients of each site. A seed that is drawn brings all its
runs along, and a patient the scores by all models, so nothing that one model has made is taken for independent.

With few seeds such an interval is too narrow: with two or three it left out 0 in up to a third of simulated comparisons
that had no difference. So a conclusion also needs the t interval over the means by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fedswin.experiments.plan import EndPoint
from fedswin.experiments.rows import Row
from fedswin.seeds import generator

Array = NDArray[np.float64]

REPLICATES = 2000
LEVEL = 0.95
_ALL = "all"
_OF_CASES: Mapping[EndPoint, Callable[[Row], Mapping[str, float]]] = {
    "dice": lambda row: row.cases,
    "worst_site_dice": lambda row: row.cases,
    "hd95": lambda row: row.hd95,
    "nsd": lambda row: row.nsd,
    "dice_area": lambda row: {_ALL: row.measures["dice_area"]} if "dice_area" in row.measures else {},
}
"""What of a row an end point is worked out from; the area is of the validation cases, which are not told one by one."""


@dataclass(frozen=True)
class Difference:
    """How much an end point differs from scratch, with everything else the same.

    Attributes:
        mean: the mean over patients of the mean over runs; of the worst site, the mean over runs.
        low: the lower bound of the interval.
        high: its upper bound.
        runs: how many runs have a partner from scratch with the same seed of fine-tuning.
        seeds: the numbers of different seeds of pre-training and of fine-tuning among them.
        patients: cases that were compared; 0 for the area, which has one value a run.
        holds_over_seeds: whether 0 is outside the t interval of the mean over seeds, of pre-training or of fine-tuning,
            whichever are fewer.
    """

    mean: float
    low: float
    high: float
    runs: int
    seeds: tuple[int, int]
    patients: int
    holds_over_seeds: bool


def paired(rows: Sequence[Row], scratch: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return each row with that from scratch of the same seed of fine-tuning, where there is one."""
    base = {row.cell.seed: row for row in scratch}
    return [(row, base[row.cell.seed]) for row in rows if row.cell.seed in base]


def difference(rows: Sequence[Row], scratch: Sequence[Row], end_point: EndPoint = "dice") -> Difference | None:
    """Compare rows that differ in nothing but their seeds with the same from scratch.

    Args:
        rows: those of an arm.
        scratch: those from scratch.
        end_point: what to compare.

    Returns:
        ``None`` if there is nothing to compare.
    """
    pairs, scores = paired(rows, scratch), _OF_CASES[end_point]
    cases = sorted({name for row, base in pairs for name in scores(row).keys() & scores(base).keys()})
    if not cases:
        return None
    ours, theirs = (
        np.array([[scores(pair[side]).get(name, np.nan) for name in cases] for pair in pairs]) for side in (0, 1)
    )
    unknown = np.isnan(ours) | np.isnan(theirs)
    ours[unknown], theirs[unknown] = np.nan, np.nan
    sites = [name.partition("/")[0] for name in cases]
    compare = _worst_site if end_point == "worst_site_dice" else _mean
    seeds = [(row.cell.pretraining_seed, row.cell.seed) for row, _ in pairs]
    once = compare(ours, theirs, np.ones((1, len(pairs))), np.ones((1, len(cases))), sites)
    replicates = compare(ours, theirs, *_draws(seeds, sites), sites)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(replicates, [tail, 100 - tail]).tolist()
    different = (len({one for one, _ in seeds}), len({other for _, other in seeds}))
    by_run = compare(ours, theirs, np.eye(len(pairs)), np.ones((len(pairs), len(cases))), sites)
    fewer = [seed[different[1] <= different[0]] for seed in seeds]
    holds = _holds_over(fewer, by_run)
    return Difference(once.item(), low, high, len(pairs), different, 0 if cases == [_ALL] else len(cases), holds)


def _holds_over(labels: Sequence[int], differences: Array) -> bool:
    """Tell whether 0 is outside the t interval of the mean of the differences' means by label."""
    known = ~np.isnan(differences)
    chosen = np.array(labels)
    means = [differences[known & (chosen == label)].mean() for label in sorted(set(chosen[known].tolist()))]
    if len(means) < 2:
        return False
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    return bool(abs(np.mean(means)) > stdtrit(len(means) - 1, (1 + LEVEL) / 2) * error)


def _draws(seeds: Sequence[tuple[int, int]], sites: Sequence[str]) -> tuple[Array, Array]:
    """Return how often each run and each case is in each replicate: (replicates, runs) and (replicates, cases)."""
    rng = generator(0, "bootstrap")
    finetuning = _times([seed for _, seed in seeds], rng)
    coupled = all(one == other for one, other in seeds)
    runs = finetuning if coupled else finetuning * _times([seed for seed, _ in seeds], rng)
    cases = np.zeros((REPLICATES, len(sites)))
    for site in dict.fromkeys(sites):
        own = [number for number, name in enumerate(sites) if name == site]
        cases[:, own] = rng.multinomial(len(own), [1 / len(own)] * len(own), REPLICATES)
    return runs, cases


def _times(labels: Sequence[int], rng: np.random.Generator) -> Array:
    """Draw as many of the different labels as there are, and return how often the label of each run was drawn."""
    different = sorted(set(labels))
    drawn = rng.multinomial(len(different), [1 / len(different)] * len(different), REPLICATES)
    return drawn[:, [different.index(label) for label in labels]].astype(np.float64)


def _mean(ours: Array, theirs: Array, runs: Array, cases: Array, sites: Sequence[str]) -> Array:
    """Return for each replicate the mean over cases of the mean over runs; not a number where nothing was drawn."""
    there = ~np.isnan(ours)
    total, count = runs @ np.where(there, ours - theirs, 0.0), runs @ there
    of_cases = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return _ratio((cases * of_cases).sum(1), (cases * (count > 0)).sum(1))


def _worst_site(ours: Array, theirs: Array, runs: Array, cases: Array, sites: Sequence[str]) -> Array:
    """Return for each replicate the mean over runs of the difference between the lowest means over a site's cases."""
    lowest = []
    for scores in (ours, theirs):
        there, of_sites = ~np.isnan(scores), []
        for site in dict.fromkeys(sites):
            own = [number for number, name in enumerate(sites) if name == site]
            weights = cases[:, own]
            of_sites.append(_ratio(weights @ np.where(there, scores, 0.0)[:, own].T, weights @ there[:, own].T))
        lowest.append(np.fmin.reduce(of_sites))
    return _ratio((runs * (lowest[0] - lowest[1])).sum(1), runs.sum(1))


def _ratio(total: Array, count: Array) -> Array:
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
