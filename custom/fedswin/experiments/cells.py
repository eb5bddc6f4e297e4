"""The grid of a plan: its cells, the jobs of each, and what identifies a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.experiments.plan import OBJECTIVES, Amount, Arm, Plan
from fedswin.old_records import FORMER_SETTINGS
from fedswin.settings import Section


@dataclass(frozen=True)
class Cell:
    """One run of a plan: a value of each axis.

    Attributes:
        task: the name of the task.
        shard: the name of the dealing.
        left_out: the site that trains on nothing; empty for none.
        labels: labelled cases of each site in fine-tuning.
        arm: where the encoder comes from.
        objective: the losses of pre-training, joined by " + "; empty from scratch.
        cases: cases of each site in pre-training; empty from scratch.
        seed: of fine-tuning: deals, initialises and orders.
        encoder_seed: of pre-training; empty from scratch.
        frozen: whether the encoder is frozen, under a linear decoder.
    """

    task: str
    shard: str
    left_out: str
    labels: Amount
    arm: Arm
    objective: str
    cases: Amount | str
    seed: int
    encoder_seed: int | str = ""
    frozen: bool = False

    @property
    def starts_from_scratch(self) -> bool:
        """Whether nothing is pre-trained."""
        return self.arm == "scratch"

    @property
    def pretraining_seed(self) -> int:
        """The seed of the encoder; from scratch, where it decides nothing, that of fine-tuning."""
        return self.seed if self.encoder_seed == "" else int(self.encoder_seed)

    def from_scratch(self) -> Cell:
        """Return the cell that does the same without pre-training."""
        return replace(self, arm="scratch", objective="", cases="", encoder_seed="")

    def text(self, axis: str) -> str:
        """Return the value of an axis as it is written in a CSV and on a command line."""
        value = getattr(self, axis)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def __str__(self) -> str:
        """Name the values that say something, those of an axis that is not used left out."""
        amounts = [f"labels {self.labels}", f"scans {self.cases}" if self.cases not in ("", "all") else ""]
        losses = self.objective if self.objective != " + ".join(OBJECTIVES) else ""
        left_out = f"without {self.left_out}" if self.left_out else ""
        frozen = "frozen" if self.frozen else ""
        encoder = f"encoder seed {self.encoder_seed}" if self.encoder_seed not in ("", self.seed) else ""
        parts = (self.task, self.shard, left_out, self.arm, frozen, losses, *amounts, encoder, f"seed {self.seed}")
        return ", ".join(part for part in parts if part)


AXES = tuple(field.name for field in fields(Cell))


def cells_of(plan: Plan) -> list[Cell]:
    """Return the cells, by seed first, so that an experiment that is cut off has whole grids of fewer seeds."""
    return list(dict.fromkeys(_cells(plan)))


def _cells(plan: Plan) -> Iterator[Cell]:
    settings = plan.settings
    objectives = [" + ".join(loss for loss in OBJECTIVES if loss in of) for of in settings.pretraining.objectives]
    for (encoder, seed), frozen, task, shard, left_out, labels, arm, objective, cases in product(
        settings.seed_pairs,
        settings.frozen,
        settings.tasks,
        settings.shards,
        settings.left_out,
        settings.labels,
        settings.arms,
        objectives,
        settings.pretraining.cases,
    ):
        cell = Cell(task, shard, left_out or "", labels, arm, objective, cases, seed, encoder, frozen)
        yield cell.from_scratch() if cell.starts_from_scratch else cell


def grid_of(plan: Plan) -> dict[str, Cell]:
    """Return the cells by their keys, in their order.

    Raises:
        FedSwinError: if two cells are the same run under two names.
    """
    grid: dict[str, Cell] = {}
    for cell in cells_of(plan):
        twin = grid.setdefault(key_of(plan, cell), cell)
        if twin != cell:
            raise FedSwinError(f"{plan.path}: these are the same run: {twin}; and {cell}. Take one of them out.")
    return grid


def pretraining_job(plan: Plan, cell: Cell) -> Job:
    """Return the job that pre-trains the cell's encoder: the same for ``local``, ``federated`` and ``central``."""
    job, losses = plan.pretraining, cell.objective.split(" + ")
    weights = job.pretraining.loss_weights
    left = weights.model_copy(update={name: 0.0 for name in OBJECTIVES if name not in losses})
    update = {"name": "pretraining", "seed": cell.pretraining_seed}
    return job.changed("pretraining", loss_weights=left).model_copy(update=update)


def finetuning_job(plan: Plan, cell: Cell) -> Job:
    """Return the job that fine-tunes the cell's encoder, the same for all arms."""
    jobs = plan.probes if cell.frozen else plan.tasks
    return jobs[cell.task].model_copy(update={"name": "finetuning", "seed": cell.seed})


def key_of(plan: Plan, cell: Cell) -> str:
    """Return the hash of the settings that make the cell's numbers.

    Names of plans, tasks and shards have no part in it, so cells of two plans that do the same have the same key. Nor
    have settings with their default: should that ever change, rows that are there tell of the old one. Nor has what a
    row did before it was a setting (`FORMER_SETTINGS`).
    """
    content = {
        **_dealt(plan, cell, cell.seed),
        "finetuning": _finetuning(plan, cell),
        "own_data": None if plan.shares_data(cell.task) else _own_data(plan, cell),
        "labels": cell.labels,
        "pretraining": None if cell.starts_from_scratch else _pretraining(plan, cell),
    }
    return _hash(content)


def pretraining_key(plan: Plan, cell: Cell) -> str:
    """Return the hash of all settings that make the cell's encoder: cells of the same start from the same run."""
    return _hash({**_dealt(plan, cell, cell.pretraining_seed), **_pretraining(plan, cell)})


def _finetuning(plan: Plan, cell: Cell) -> dict[str, Any]:
    job = finetuning_job(plan, cell)
    content = _settings(job)
    for name, former in FORMER_SETTINGS.items():
        now = {setting: getattr(getattr(job, name), setting) for setting in former}
        changed = {setting: value for setting, value in now.items() if value != former[setting]}
        rest = {setting: value for setting, value in content.get(name, {}).items() if setting not in former}
        content[name] = rest | changed
    return content


def _pretraining(plan: Plan, cell: Cell) -> dict[str, Any]:
    alone = plan.settings.pretraining.local if cell.arm == "local" else None
    return {"job": _settings(pretraining_job(plan, cell)), "arm": cell.arm, "alone": alone, "cases": cell.cases}


def _dealt(plan: Plan, cell: Cell, seed: int) -> dict[str, Any]:
    """Describe which cases there are, and which of them are kept from pre-training for the test."""
    shared, dealing = plan.shares_data(cell.task), plan.settings.shards[cell.shard]
    return {
        "data": _settings(plan.settings.data),
        "shard": _settings(dealing) if dealing else None,
        "left_out": cell.left_out,
        "folds": plan.settings.folds if shared else None,
        "sites": plan.settings.tasks[cell.task].sites if shared else None,
        "seed": seed,
        **(_fixed_test(plan, cell) if shared else {}),
    }


def _own_data(plan: Plan, cell: Cell) -> dict[str, Any]:
    task = plan.settings.tasks[cell.task]
    data = _settings(plan.scenario(cell.task).settings)
    return {"data": data, "sites": task.sites, "folds": plan.settings.folds, **_fixed_test(plan, cell)}


def _fixed_test(plan: Plan, cell: Cell) -> dict[str, Any]:
    """Describe what decides which patients are for test and validation, where all runs have the same."""
    settings = plan.settings
    if settings.test_patients is None:
        return {}
    test = {
        "patients": settings.test_patients,
        "structures": settings.test_structures,
        "validation": settings.validation_patients,
        "seed": settings.data_seed,
        "classes": plan.tasks[cell.task].segmentation.classes,
    }
    return {"test": test}


def _settings(section: Section) -> dict[str, Any]:
    """Return what differs from the defaults, so that a setting which is new in FedSwin makes no run another one."""
    return section.model_dump(mode="json", exclude_defaults=True, exclude={"name", "description"})


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
