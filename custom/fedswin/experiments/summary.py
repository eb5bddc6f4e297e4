"""What the rows of an experiment come to: means and deviations over runs, the worst site, the gain over scratch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

from fedswin.experiments.cells import AXES, Cell
from fedswin.experiments.learning import remark_on
from fedswin.experiments.paired import Difference, difference, paired
from fedswin.experiments.plan import EndPoint
from fedswin.experiments.rows import MEASURES, Row


@dataclass(frozen=True)
class Spread:
    """A mean over runs, and their sample standard deviation; ``None`` with one run."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Gain:
    """How many are better than from scratch, by Dice, with everything else the same.

    Attributes:
        better: cases whose mean over the runs is better.
        cases: all cases.
        better_runs: runs whose mean over the cases that they test is better.
        runs: all runs.
        differences: by how much, for each end point that the rows have.
    """

    better: int
    cases: int
    better_runs: int
    runs: int
    differences: Mapping[EndPoint, Difference]


@dataclass(frozen=True)
class Summary:
    """The rows that differ in nothing but their seeds.

    Attributes:
        cell: their place in the grid; its seeds say nothing.
        alone: the site that has pre-trained by itself; empty if none has.
        remark: what keeps a conclusion from being drawn, such as "encoder at chance"; empty from scratch, and if all
            encoders have learned.
        seeds: their seeds of fine-tuning, which are those of pre-training, too, if there are no others.
        encoder_seeds: their seeds of pre-training, if these are others.
        measures: each of `fedswin.experiments.rows.MEASURES` that all rows have.
        classes: the Dice of each class, if there are several.
        sites: the Dice at each site.
        cases: the Dice of each case, the mean over the rows that test it.
        gain: over the same from scratch; ``None`` if there is no such row, or this is it.
    """

    cell: Cell
    alone: str
    remark: str
    seeds: Sequence[int]
    encoder_seeds: Sequence[int]
    measures: Mapping[str, Spread]
    classes: Mapping[str, Spread]
    sites: Mapping[str, Spread]
    cases: Mapping[str, float]
    gain: Gain | None

    @property
    def worst_site(self) -> str:
        """The site whose mean is lowest."""
        return min(self.sites, key=lambda name: self.sites[name].mean)


def summarize(rows: Sequence[Row], end_points: Sequence[EndPoint] = ("dice",)) -> list[Summary]:
    """Return a summary for each configuration among ``rows``, in the order in which they appear.

    Args:
        rows: the rows.
        end_points: what to compare with scratch beside the Dice.
    """
    groups: defaultdict[Cell, list[Row]] = defaultdict(list)
    for row in rows:
        groups[replace(row.cell, seed=0, encoder_seed="")].append(row)
    every = dict.fromkeys(("dice", *end_points))
    return [_summary(cell, group, groups.get(cell.from_scratch(), []), list(every)) for cell, group in groups.items()]


def varying_axes(rows: Sequence[Row]) -> list[str]:
    """Return the axes that say something of a run: the arm, and those with several values, the seeds apart."""
    of_rows = {axis: {getattr(row.cell, axis) for row in rows} for axis in AXES if axis not in ("seed", "encoder_seed")}
    for axis in ("objective", "cases"):
        of_rows[axis] -= {""}  # from scratch
    return [axis for axis, values in of_rows.items() if axis == "arm" or len(values) > 1]


def _summary(cell: Cell, rows: Sequence[Row], scratch: Sequence[Row], end_points: Sequence[EndPoint]) -> Summary:
    coupled = all(row.cell.pretraining_seed == row.cell.seed for row in rows)
    return Summary(
        cell,
        ", ".join(dict.fromkeys(row.about["alone"] for row in rows)),
        "" if cell.starts_from_scratch else remark_on([row.about["encoder"] for row in rows]),
        sorted({row.cell.seed for row in rows}),
        [] if coupled else sorted({row.cell.pretraining_seed for row in rows}),
        {
            name: _spread(row.measures[name] for row in rows)
            for name in MEASURES
            if all(name in r.measures for r in rows)
        },
        _spreads([row.classes for row in rows]),
        _spreads([row.sites for row in rows]),
        {name: mean(r.cases[name] for r in rows if name in r.cases) for name in sorted(_names(r.cases for r in rows))},
        None if cell.starts_from_scratch else _gain(rows, scratch, end_points),
    )


def _gain(rows: Sequence[Row], scratch: Sequence[Row], end_points: Sequence[EndPoint]) -> Gain | None:
    differences = [
        (number, name, value - base.cases[name])
        for number, (row, base) in enumerate(paired(rows, scratch))
        for name, value in row.cases.items()
        if name in base.cases
    ]
    if not differences:
        return None
    of_cases = _means((name, value) for _, name, value in differences)
    of_runs = _means((number, value) for number, _, value in differences)
    told = {end_point: difference(rows, scratch, end_point) for end_point in end_points}
    known = {end_point: value for end_point, value in told.items() if value}
    return Gain(_above(of_cases), len(of_cases), _above(of_runs), len(of_runs), known)


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
