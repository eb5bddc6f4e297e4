"""One test for all runs of a plan: which patients no run trains on, and a check of the folders that runs read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fedswin.config import Job
from fedswin.data.datalist import Case, Site, read_site, site_folders
from fedswin.data.dealing.apportion import apportion
from fedswin.data.volume import read_voxels, require_label_values
from fedswin.errors import FedSwinError, nearest
from fedswin.experiments.plan import Plan
from fedswin.seeds import generator

Patients = Mapping[str, frozenset[str]]
"""Patients of each site."""


@dataclass(frozen=True)
class KeptPatients:
    """Patients that no run trains on, in pre-training as in fine-tuning.

    Attributes:
        test: of each site, those that a finished model is scored on, once.
        validation: of each site, those that each model is scored on while it is trained.
    """

    test: Patients
    validation: Patients


def shown_classes_of(case: Case, job: Job) -> frozenset[int]:
    """Return the indices of the job's classes that the label map of a case shows; none without a label map.

    Raises:
        VolumeError: if it cannot be read, or its site names classes that the job does not have.
    """
    if case.label is None:
        return frozenset()
    indices = case.annotation.class_indices(job.segmentation)
    annotated = case.annotation.annotated_indices(job.segmentation)
    return frozenset(indices.get(value, 0) for value in _label_values(case.label)) & frozenset(annotated)


def keep_patients(plan: Plan, task: str, sites: Mapping[str, Sequence[Case]]) -> KeptPatients:
    """Choose the patients of the test and of validation, as the plan says; it is the same choice for all runs.

    Of numbers, each site has a part in proportion to the patients that it has to choose from.

    Args:
        plan: a plan with ``test_patients``.
        task: the name of the task.
        sites: the cases of each of the task's sites.

    Raises:
        FedSwinError: if a patient that the plan names is not there or shows too little, or there are too few.
    """
    settings = plan.settings
    eligible = {name: _eligible(plan, task, cases) for name, cases in sites.items()}
    if isinstance(settings.test_patients, tuple):
        test = _named(plan, settings.test_patients, sites, eligible)
    else:
        test = _drawn(plan, settings.test_patients or 0, eligible, "test patients")
    left = {name: patients - test[name] for name, patients in eligible.items()}
    return KeptPatients(test, _drawn(plan, settings.validation_patients, left, "validation patients"))


def refuse_leak(plan: Plan, task: str, pretraining: Path, finetuning: Path) -> None:
    """Make sure that no run trains on a patient that it is tested on, by the very folders that it reads.

    Patients of a collection that was dealt to sites are told by their names, whatever the site; else a name is a
    pseudonym of its site. Scans are told by the files that they lead to.

    Args:
        plan: the plan.
        task: the name of the task.
        pretraining: the folder of the sites that pre-train, as dealt for the run.
        finetuning: the same of fine-tuning.

    Raises:
        FedSwinError: if one does; it names the patient.
    """
    shared, everywhere = plan.shares_data(task), plan.settings.data.shard is not None
    tested: dict[str, str] = {}
    for site in _sites(finetuning):
        for case in site.cases("test"):
            tested |= dict.fromkeys(_identities(site, case, everywhere), case.patient)
    for stage, folder in (("pre-training", pretraining), ("fine-tuning", finetuning)):
        for site in _sites(folder):
            for case in (*site.cases("training"), *site.cases("validation")):
                known = _identities(site, case, everywhere)
                if not shared and stage == "pre-training":  # names of other data are other people's
                    known = {os.path.realpath(case.image)}
                if found := tested.keys() & known:
                    raise FedSwinError(
                        f"{plan.path}: the patient '{tested[min(found)]}' is tested on, and is in {stage} at "
                        f"{site.name} ({case.image}). Nothing of it is run. Give each patient one name in all data, or "
                        "delete the folder of the deal, so that it is dealt anew."
                    )


@cache
def _label_values(path: Path) -> frozenset[int]:
    values = np.unique(read_voxels(path))
    require_label_values(path, values, None)
    return frozenset(values.astype(int).tolist())


def _eligible(plan: Plan, task: str, cases: Sequence[Case]) -> frozenset[str]:
    """Return the patients whose label maps show enough of the task's classes."""
    job, shown = plan.tasks[task], defaultdict[str, frozenset[int]](frozenset)
    for case in cases:
        shown[case.patient] |= shown_classes_of(case, job)
    least = len(job.segmentation.classes) if plan.settings.test_structures == "all" else 1
    return frozenset(patient for patient, classes in shown.items() if len(classes) >= least)


def _drawn(plan: Plan, number: int, eligible: Patients, what: str) -> Patients:
    of_sites = {name: len(patients) for name, patients in eligible.items()}
    there = sum(of_sites.values())
    if not number:
        return dict.fromkeys(eligible, frozenset())
    if number >= there:
        raise FedSwinError(
            f"{plan.path}: {number} {what} are asked for, and the sites have {there} to choose from, which leaves none "
            "for training. Ask for fewer, or set test_structures to any."
        )
    parts = dict(zip(of_sites, apportion(number, list(of_sites.values())).tolist(), strict=True))
    drawn = {}
    for name, patients in eligible.items():
        order = generator(plan.settings.data_seed, name, what).permutation(sorted(patients))
        drawn[name] = frozenset(order[: parts[name]].tolist())
    return drawn


def _named(plan: Plan, names: Sequence[str], sites: Mapping[str, Sequence[Case]], eligible: Patients) -> Patients:
    """Return the patients that the plan names, by their whole names or the last parts of these."""
    known = {name: {case.patient for case in cases} for name, cases in sites.items()}
    chosen: dict[str, set[str]] = {name: set() for name in sites}
    for wanted in names:
        found = [(s, p) for s, patients in known.items() for p in patients if f"/{p}".endswith(f"/{wanted}")]
        if len(found) != 1:
            every = [patient for patients in known.values() for patient in patients]
            how = f"{len(found)} patients" if found else f"no patient{nearest(wanted, every)}"
            raise FedSwinError(f"{plan.path}: test_patients names '{wanted}', which is {how}. Name one each.")
        [(site, patient)] = found
        if patient not in eligible[site]:
            much = plan.settings.test_structures
            raise FedSwinError(
                f"{plan.path}: test_patients names '{wanted}', whose label maps do not show {much} of the task's "
                "classes. Name another one."
            )
        chosen[site].add(patient)
    return {name: frozenset(patients) for name, patients in chosen.items()}


def _sites(folder: Path) -> list[Site]:
    """Read the site folders in ``folder``; there is none if nothing was dealt."""
    return [read_site(site) for site in site_folders(folder).values()] if folder.exists() else []


def _identities(site: Site, case: Case, everywhere: bool) -> set[str]:
    name = case.patient if everywhere else f"{site.name}/{case.patient}"
    return {f"patient {name}", os.path.realpath(case.image)}
