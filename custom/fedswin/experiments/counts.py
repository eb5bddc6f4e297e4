"""How many runs of each kind a plan has, and how many of them are missing: nothing is run, and no data are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedswin.experiments.cells import Cell, finetuning_job, key_of, pretraining_job, pretraining_key
from fedswin.experiments.plan import Plan
from fedswin.experiments.rows import Row
from fedswin.outcome import is_finished

_WITH_NAMES = ("labels", "cases", "frozen")  # whose values say nothing by themselves


@dataclass(frozen=True)
class Count:
    """Runs of one kind.

    Attributes:
        what: ``encoder`` or ``row``.
        kind: the values of the axes that they share, by the words of the plan.
        runs: how many the plan has.
        missing: how many of them would be run.
        steps: the optimizer steps of each; a federation makes them at every site at once.
    """

    what: str
    kind: str
    runs: int
    missing: int
    steps: int


def count_runs(plan: Plan, cells: Sequence[Cell], rows: Mapping[str, Row], encoders: Path) -> list[Count]:
    """Count the encoders, and the rows that start from them.

    Args:
        plan: the plan.
        cells: those that are asked for.
        rows: the rows that are there, by their keys.
        encoders: the folder of the runs of pre-training.
    """
    missing = [cell for cell in cells if key_of(plan, cell) not in rows]
    trained = [cell for cell in cells if not cell.starts_from_scratch]
    needed = {pretraining_key(plan, cell) for cell in missing if not cell.starts_from_scratch}
    needed -= {key for key in needed if any(map(is_finished, encoders.glob(f"*-{key}")))}
    counts = []
    for kind, group in _groups(trained, ("shard", "left_out", "arm", "objective", "cases")).items():
        keys = {pretraining_key(plan, cell) for cell in group}
        steps = pretraining_job(plan, group[0]).total_steps
        counts.append(Count("encoder", kind, len(keys), len(keys & needed), steps))
    axes = ("task", "shard", "left_out", "arm", "frozen", "labels", "objective", "cases")
    for kind, group in _groups(cells, axes).items():
        steps = finetuning_job(plan, group[0]).total_steps
        counts.append(Count("row", kind, len(group), sum(cell in missing for cell in group), steps))
    return counts


def _groups(cells: Sequence[Cell], axes: Sequence[str]) -> dict[str, list[Cell]]:
    """Put the cells with the same values together, under these; an axis on which all agree is left out."""
    told = [axis for axis in axes if axis == "arm" or len({cell.text(axis) for cell in cells} - {""}) > 1]
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        values = {axis: cell.text(axis) for axis in told if cell.text(axis)}
        kind = [f"{axis} {value}" if axis in _WITH_NAMES else value for axis, value in values.items()]
        groups.setdefault(", ".join(kind), []).append(cell)
    return groups
