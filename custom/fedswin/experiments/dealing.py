"""Which case of which site a cell pre-trains on, fine-tunes on, and is tested on: written as site folders.

All arms of a cell read the same folders, and no training opens a ``test`` case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fedswin.checksum import Copies
from fedswin.data.datalist import DATALIST, SPLITS, Case, read_datalist, site_folders, write_datalist
from fedswin.data.dealing.shard import shard
from fedswin.data.folds import fold_of_patients
from fedswin.errors import FedSwinError, nearest
from fedswin.experiments.cells import Cell
from fedswin.experiments.kept_patients import keep_patients, shown_classes_of
from fedswin.experiments.plan import Amount, Dealing, Plan
from fedswin.operations.made_sites import make_sites
from fedswin.operations.scenario import Scenario
from fedswin.output import staged
from fedswin.seeds import generator

Splits = Mapping[str, Sequence[Case]]
_DIGITS = 8  # of the digest of a scenario
_FOLDS_SEED = 0  # folds stay the same for every seed, or the seeds of a plan would not test each case once


@dataclass(frozen=True)
class Holding:
    """All cases of a site, whatever their splits were, and what its datalist says beside them."""

    cases: Sequence[Case]
    top_level: Mapping[str, Any]


@dataclass(frozen=True)
class TaskSites:
    """The sites of a task, as they are before a cell's cases are dealt.

    Attributes:
        pretraining: for each shard, the folder of the sites that pre-train.
        finetuning: for each shard, the folder of the sites that are fine-tuned at; the same one, or the task's own.
        source: the digest of the scenario that has made the former.
        digest: the same for both. Folders are named after it, lest one is gone on with after the data have changed.
    """

    pretraining: Mapping[str, Path]
    finetuning: Mapping[str, Path]
    source: str
    digest: str


def ready_task(plan: Plan, task: str, folder: Path, *, console: Console) -> TaskSites:
    """Make the sites of a task below ``folder``, unless they are there.

    Raises:
        FedSwinError: if something about the scenarios or the dealing is wrong.
    """
    shared, own = plan.scenario(), plan.scenario(task)
    source = shared.digest[:_DIGITS]
    sites = {
        name: ready_sites(shared, dealing, folder, console=console) for name, dealing in plan.settings.shards.items()
    }
    if plan.shares_data(task):
        return TaskSites(sites, sites, source, source)
    made = ready_sites(own, None, folder, console=console)
    return TaskSites(sites, dict.fromkeys(sites, made), source, f"{source}+{own.digest[:_DIGITS]}")


def ready_sites(scenario: Scenario, dealing: Dealing | None, folder: Path, *, console: Console) -> Path:
    """Make the sites of ``scenario`` below ``folder``, unless they are there, and deal their cases again.

    Raises:
        FedSwinError: if something about the scenario or the dealing is wrong.
    """
    made = folder / scenario.digest[:_DIGITS]
    if not made.exists():
        make_sites(scenario, made, console=console)
    if dealing is None:
        return made
    options = dealing.model_dump(exclude_none=True)
    dealt = folder / "-".join([made.name, *map(str, options.values())])
    if not dealt.exists():
        shard(_pool(made), dealt, **options, validation=0, test=0)
    return dealt


def read_holdings(sites: Path) -> dict[str, Holding]:
    """Return what each of the site folders in ``sites`` holds.

    Raises:
        VolumeError: as `read_datalist`.
    """
    return {name: _holding(folder) for name, folder in site_folders(sites).items()}


def write_deal(plan: Plan, cell: Cell, pretraining: Path, finetuning: Path, out: Path) -> None:
    """Write the site folders of a cell to ``out/pretraining`` and ``out/finetuning``.

    Args:
        plan: the plan.
        cell: the cell.
        pretraining: the folder of the sites that pre-train.
        finetuning: the folder of the task's sites; the same one, or its own.
        out: the folder to write; it appears when complete.

    Raises:
        FedSwinError: if the plan names a site that is not there, or nothing is left to train on or to test on.
    """
    task = plan.settings.tasks[cell.task]
    held = read_holdings(finetuning)
    _refuse_unknown(plan, [*(task.sites or ()), cell.left_out], held)
    sites = {name: held[name] for name in task.sites or held}
    tuning = _by_patients(plan, cell, sites) if plan.settings.test_patients else _by_folds(plan, cell, sites)
    _refuse_empty(plan, cell, tuning)
    sources = read_holdings(pretraining)
    _refuse_unknown(plan, [plan.settings.pretraining.local, cell.left_out], sources)
    if pretraining != finetuning:
        _refuse_shared(plan, sources, held)
    with staged(out) as folder:
        for name, splits in tuning.items():
            _write(folder / "finetuning" / name, splits, held[name])
        for name, site in sources.items():
            splits = _unlabelled(site, name, tuning.get(name, {}) if pretraining == finetuning else {}, cell)
            if splits["training"]:
                _write(folder / "pretraining" / name, splits, site)
            elif name == plan.settings.pretraining.local and cell.arm == "local":
                raise FedSwinError(f"{plan.path}: {name} is to pre-train alone, and has no case left for it ({cell}).")


def held_out(cases: Sequence[Case], site: str, folds: int, cell: Cell) -> list[Case]:
    """Return the labelled cases of a site that the cell is tested on: those of its fold, by patient.

    With a left-out site these are all that it has, and none of another site. A site with one labelled patient keeps it
    for training.
    """
    labelled = [case for case in cases if case.is_labelled]
    if cell.left_out:
        return labelled if site == cell.left_out else []
    patients = {case.patient for case in labelled}
    fold_of = fold_of_patients(patients, folds, _FOLDS_SEED, site)
    chosen = [case for case in labelled if fold_of[case.patient] == cell.seed % folds]
    return chosen if len({case.patient for case in chosen}) < len(patients) else []


def draw(
    cases: Sequence[Case],
    amount: Amount | str,
    site: str,
    what: str,
    seed: int,
    first: Callable[[Case], bool] = lambda case: True,
) -> list[Case]:
    """Return ``amount`` of the cases, those that come ``first`` before others.

    What is drawn of fewer is among what is drawn of more.
    """
    if amount == "all":
        return list(cases)
    order = generator(seed, site, what).permutation(len(cases)).tolist()
    order.sort(key=lambda number: not first(cases[number]))
    return [cases[number] for number in sorted(order[: int(amount)])]


def _pool(sites: Path) -> Path:
    """Write a datalist of all cases of ``sites``, each under a name that tells its site, and return it."""
    holdings = read_holdings(sites)
    read_as = [{key: held.top_level.get(key) for key in ("annotated", "label_map")} for held in holdings.values()]
    if any(keys != read_as[0] for keys in read_as):
        raise FedSwinError(f"{sites}: the sites' label maps are read in several ways, so their cases cannot be pooled.")
    pool = sites.with_name(f"{sites.name}-pool")
    known = {key: value for key, value in read_as[0].items() if value is not None}
    with staged(pool) as folder:
        cases = [_linked(folder, name, case) for name, held in holdings.items() for case in held.cases]
        write_datalist(folder, {"training": cases}, **known)
    return pool / DATALIST


def _linked(folder: Path, site: str, case: Case) -> Case:
    """Link the files of a case into ``folder``, and name them and the patient after the site, too."""
    links = {}
    for part, file in (("images", case.image), ("labels", case.label)):
        if file:
            links[part] = folder / part / f"{site}_{file.name}"
            links[part].parent.mkdir(exist_ok=True)
            links[part].symlink_to(file.resolve())
    return replace(case, image=links["images"], label=links.get("labels"), patient=f"{site}/{case.patient}")


def _holding(folder: Path) -> Holding:
    splits, top_level = read_datalist(folder / DATALIST)
    return Holding([case for split in SPLITS for case in splits[split]], top_level)


def _by_folds(plan: Plan, cell: Cell, sites: Mapping[str, Holding]) -> dict[str, Splits]:
    """Return the cases of fine-tuning at each site, the fold of the cell's seed being the test.

    They are those that annotate a class of the task.
    """
    folds, tuning, classes = plan.settings.folds or 1, dict[str, Splits](), plan.tasks[cell.task].segmentation
    for name, site in sites.items():
        cases = [case for case in site.cases if case.is_labelled and case.annotation.annotated_classes(classes)]
        test = held_out(cases, name, folds, cell)
        left = [case for case in cases if case not in test]
        training = [] if name == cell.left_out else draw(left, cell.labels, name, "labels", cell.seed)
        tuning[name] = {"training": training, "test": test}
    return tuning


def _by_patients(plan: Plan, cell: Cell, sites: Mapping[str, Holding]) -> dict[str, Splits]:
    """Return the cases of fine-tuning at each site, with the test and validation that are the same for all runs.

    Cases whose label maps show none of the task's classes are left out; those that show all of them are drawn first.
    """
    job = plan.tasks[cell.task]
    shown = {name: {case: shown_classes_of(case, job) for case in site.cases} for name, site in sites.items()}
    kept = keep_patients(plan, cell.task, {name: site.cases for name, site in sites.items()})
    tuning: dict[str, Splits] = {}
    for name, classes in shown.items():
        labelled = [case for case in classes if classes[case]]
        test, validation = (
            [case for case in labelled if case.patient in patients[name]] for patients in (kept.test, kept.validation)
        )
        left = [case for case in labelled if case not in test and case not in validation]
        complete = {case for case in left if len(classes[case]) == len(job.segmentation.classes)}
        training = draw(left, cell.labels, name, "labels", cell.seed, complete.__contains__)
        tuning[name] = {"training": training, "validation": validation, "test": test}
    return tuning


def _unlabelled(site: Holding, name: str, tuning: Splits, cell: Cell) -> Splits:
    """Return the cases of pre-training at a site, without those of any patient of the test.

    Patients of validation are so here, too.
    """
    tested, validated = ({case.patient for case in tuning.get(split, ())} for split in ("test", "validation"))
    cases = [case for case in site.cases if case.patient not in tested and name != cell.left_out]
    left = [case for case in cases if case.patient not in validated]
    training = draw(left, cell.cases or "all", name, "cases", cell.pretraining_seed)
    return {"training": training, "validation": [case for case in cases if case.patient in validated]}


def _write(folder: Path, splits: Splits, held: Holding) -> None:
    folder.mkdir(parents=True)
    write_datalist(folder, splits, **held.top_level)


def _refuse_unknown(plan: Plan, names: Sequence[str | None], held: Mapping[str, Any]) -> None:
    for name in names:
        if name and name not in held:
            raise FedSwinError(
                f"{plan.path}: there is no site '{name}'{nearest(name, held)}. The sites are {', '.join(held)}."
            )


def _refuse_shared(plan: Plan, sources: Mapping[str, Holding], held: Mapping[str, Holding]) -> None:
    """Raise if a case of a task's own data would be pre-trained on, too, be it under another name."""
    copies = Copies(case.image for site in sources.values() for case in site.cases)
    if shared := [case.image for site in held.values() for case in site.cases if copies.of(case.image)]:
        raise FedSwinError(
            f"{plan.path}: {shared[0]} is in the data of pre-training, too, so that a test case would be trained on. "
            "Leave out the task's own data, and its test cases are kept from pre-training."
        )


def _refuse_empty(plan: Plan, cell: Cell, tuning: Mapping[str, Splits]) -> None:
    for split in ("training", "test"):
        if not any(splits[split] for splits in tuning.values()):
            raise FedSwinError(
                f"{plan.path}: no labelled case is left for {split} ({cell}). Label more, or ask for fewer folds."
            )
