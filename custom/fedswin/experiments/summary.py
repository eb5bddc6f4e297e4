"""What the rows of an experiment come to: means and deviations over seeds, the worst site, the gain over scratch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

from scipy.stats import wilcoxon

from fedswin.experiments.cells import AXES, Cell
from fedswin.experiments.rows import MEASURES, Row


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, and the sample standard deviation; ``None`` with one seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Gain:
    """How much better the test cases are segmented than from scratch, with everything else the same.

    Attributes:
        mean: the mean over the cases of the difference in Dice, each the mean over its seeds.
        better: cases with a difference above 0.
        cases: all cases.
        better_seeds: seeds with a mean difference above 0 over the cases that they test.
        seeds: all seeds.
        p: of the two-sided Wilcoxon signed-rank test over the cases (paper, figure 7); ``None`` if all differences
            are 0. Cases that were tested with one model are not independent, so it is too small rather than too large;
            seeds have models of their own.
    """

    mean: float
    better: int
    cases: int
    better_seeds: int
    seeds: int
    p: float | None


@dataclass(frozen=True)
class Summary:
    """The rows that differ in nothing but the seed.

    Attributes:
        cell: their place in the grid; its seed says nothing.
        alone: the site that has pre-trained by itself; empty if none has.
        seeds: their seeds.
        measures: each of `fedswin.experiments.rows.MEASURES` that all rows have.
        classes: the Dice of each class, if there are several.
        sites: the Dice at each site.
        cases: the Dice of each case, the mean over the rows that test it.
        gain: over the same from scratch; ``None`` if there is no such row, or this is it.
    """

    cell: Cell
    alone: str
    seeds: Sequence[int]
    measures: Mapping[str, Spread]
    classes: Mapping[str, Spread]
    sites: Mapping[str, Spread]
    cases: Mapping[str, float]
    gain: Gain | None

    @property
    def worst_site(self) -> str:
        """The site whose mean is lowest."""
        return min(self.sites, key=lambda name: self.sites[name].mean)


def summarize(rows: Sequence[Row]) -> list[Summary]:
    """Return a summary for each configuration among ``rows``, in the order in which they appear."""
    groups: defaultdict[Cell, list[Row]] = defaultdict(list)
    for row in rows:
        groups[replace(row.cell, seed=0)].append(row)
    return [_summary(cell, group, groups.get(cell.from_scratch(), [])) for cell, group in groups.items()]


def varying_axes(rows: Sequence[Row]) -> list[str]:
    """Return the axes that say something of a run: the arm, and those with several values, the seed apart."""
    of_rows = {axis: {getattr(row.cell, axis) for row in rows} for axis in AXES if axis != "seed"}
    for axis in ("objective", "cases"):
        of_rows[axis] -= {""}  # from scratch
    return [axis for axis, values in of_rows.items() if axis == "arm" or len(values) > 1]


def _summary(cell: Cell, rows: Sequence[Row], scratch: Sequence[Row]) -> Summary:
    return Summary(
        cell,
        ", ".join(dict.fromkeys(row.about["alone"] for row in rows)),
        sorted(row.cell.seed for row in rows),
        {
            name: _spread(row.measures[name] for row in rows)
            for name in MEASURES
            if all(name in r.measures for r in rows)
        },
        _spreads([row.classes for row in rows]),
        _spreads([row.sites for row in rows]),
        {name: mean(r.cases[name] for r in rows if name in r.cases) for name in sorted(_names(r.cases for r in rows))},
        _gain(rows, scratch) if not cell.starts_from_scratch else None,
    )


def _gain(rows: Sequence[Row], scratch: Sequence[Row]) -> Gain | None:
    base = {row.cell.seed: row.cases for row in scratch}
    differences = [
        (row.cell.seed, name, value - base[row.cell.seed][name])
        for row in rows
        for name, value in row.cases.items()
        if name in base.get(row.cell.seed, {})
    ]
    if not differences:
        return None
    of_cases = _means((name, difference) for _, name, difference in differences)
    of_seeds = _means((seed, difference) for seed, _, difference in differences)
    changed = [difference for difference in of_cases if difference]  # Wilcoxon's own way with zeros
    p = float(wilcoxon(changed, method="exact").pvalue) if changed else None
    return Gain(mean(of_cases), _above(of_cases), len(of_cases), _above(of_seeds), len(of_seeds), p)


def _means(values: Iterable[tuple[Any, float]]) -> list[float]:
    """Return the mean of the values of each key, in the order of the keys."""
    of_key: defaultdict[Any, list[float]] = defaultdict(list)
    for key, value in values:
        of_key[key].append(value)
    return [mean(of_key[key]) for key in sorted(of_key)]


def _above(values: Sequence[float]) -> int:
    return sum(value > 0 for value in values)


def _spreads(values: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Return the spread of each name, over those that have it."""
    return {name: _spread(of[name] for of in values if name in of) for name in _names(values)}


def _spread(values: Iterable[float]) -> Spread:
    numbers = list(values)
    return Spread(mean(numbers), stdev(numbers) if len(numbers) > 1 else None)


def _names(mappings: Iterable[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
