"""One test for all runs of a plan: who is tested on, who is trained on, and that nobody is both."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from end_to_end import tiny
from experiments.studies import fixed, write_labelled, write_plan
from fedswin.data.datalist import read_site, site_folders
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import Cell, cells_of
from fedswin.experiments.dealing import ready_sites, write_deal
from fedswin.experiments.kept_patients import refuse_leak
from fedswin.experiments.plan import Plan

ALL, PART = {1, 2, 3}, {1}
SOURCES = {
    "a": [ALL] * 12 + [PART] * 6 + [{3}, set(), set()],
    "b": [ALL] * 6 + [PART] * 3 + [set()],
    "c": [set()] * 3,
}
"""Label maps of three hospitals: of the classes 1 and 2, both, one, none (3 is background), or no label map."""
CLASSES = {"segmentation.classes": {"one": 1, "two": 2}, "segmentation.background": [3]}
TASKS = {"lump": {"job": "finetune.yaml", "set": CLASSES}}
_number = count()

Dealt = dict[str, dict[str, set[str]]]
"""The patients of each site and split."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_labelled(folder / "collection", SOURCES)
    return folder


def plan_of(folder: Path, **changes: Any) -> Plan:
    return write_plan(folder, tasks=TASKS, **fixed(**{"test_patients": 9, "validation_patients": 3, **changes}))


def deal(plan: Plan, cell: Cell) -> Path:
    sites = ready_sites(plan.scenario(), None, plan.path.parent / "sites", console=Console(quiet=True))
    out = plan.path.parent / f"deal{next(_number)}"
    write_deal(plan, cell, sites, sites, out)
    return out


def read(folder: Path) -> Dealt:
    return {
        site.name: {split: {case.patient for case in cases} for split, cases in site.splits.items()}
        for site in map(read_site, site_folders(folder).values())
    }


def dealt(plan: Plan, **changes: Any) -> tuple[Dealt, Dealt]:
    out = deal(plan, replace(next(cell for cell in cells_of(plan) if cell.arm == "federated"), **changes))
    return read(out / "pretraining"), read(out / "finetuning")


def patients(of: Dealt, *splits: str) -> set[str]:
    return {patient for site in of.values() for split in splits for patient in site[split]}


def shown(patient: str) -> set[int]:
    source, _, name = patient.partition("/")
    return SOURCES[source][int(name.removeprefix("case"))]


def test_all_runs_are_tested_on_the_same_patients_of_each_hospital_in_proportion(folder: Path) -> None:
    plan = plan_of(folder, labels=[1, 2, "all"])
    of_cells = [read(deal(plan, cell) / "finetuning") for cell in cells_of(plan)]
    assert len(of_cells) == (3 * 4 + 2) * 3
    tests = {json.dumps({name: sorted(site["test"]) for name, site in sites.items()}) for sites in of_cells}
    validations = {frozenset(patients(sites, "validation")) for sites in of_cells}
    assert (len(tests), len(validations)) == (1, 1)
    assert {name: len(site["test"]) for name, site in of_cells[0].items()} == {"a": 6, "b": 3, "c": 0}  # of 18 and 9
    assert all(shown(patient) & {1, 2} for patient in patients(of_cells[0], "test", "validation"))


def test_another_data_seed_draws_other_patients(folder: Path) -> None:
    tests = [frozenset(patients(dealt(plan_of(folder, data_seed=seed))[1], "test")) for seed in (0, 1)]
    assert tests[0] != tests[1]


def test_nobody_is_trained_on_and_scored_on_and_pre_training_has_all_the_rest(folder: Path) -> None:
    pretraining, finetuning = dealt(plan_of(folder))
    test, validation = patients(finetuning, "test"), patients(finetuning, "validation")
    training = patients(finetuning, "training")
    assert (len(test), len(validation)) == (9, 3)
    assert not test & validation
    assert not (test | validation) & training
    everybody = {f"{source}/case{number:02d}" for source, cases in SOURCES.items() for number in range(len(cases))}
    assert patients(pretraining, "training") == everybody - test - validation
    assert patients(pretraining, "validation") == validation
    assert patients(pretraining, "test") == set()


def test_all_labels_are_those_that_show_any_class_and_the_first_ones_show_all(folder: Path) -> None:
    plan = plan_of(folder, labels=[1, 3, "all"])
    for seed in range(4):
        one, three, every = (dealt(plan, labels=labels, seed=seed)[1] for labels in (1, 3, "all"))
        assert patients(one, "training") < patients(three, "training") < patients(every, "training")
        assert all(shown(patient) == ALL for patient in patients(one, "training"))
        assert all(shown(patient) & {1, 2} for patient in patients(every, "training"))
        assert len(patients(every, "training")) == 27 - 12
        assert {len(site["training"]) for site in one.values()} == {1, 0}  # c has no label map


def test_a_seed_of_fine_tuning_draws_labels_and_none_of_pre_training(folder: Path) -> None:
    plan = plan_of(folder, labels=[2], pretraining={"job": "pretrain.yaml", "cases": [3]})
    by_seed = [dealt(plan, seed=seed) for seed in range(6)]
    assert len({frozenset(patients(finetuning, "training")) for _, finetuning in by_seed}) > 1
    assert len({frozenset(patients(pretraining, "training")) for pretraining, _ in by_seed}) == 1
    by_encoder = [dealt(plan, encoder_seed=seed)[0] for seed in range(6)]
    assert len({frozenset(patients(pretraining, "training")) for pretraining in by_encoder}) > 1


def test_the_test_may_be_of_patients_that_show_everything(folder: Path) -> None:
    finetuning = dealt(plan_of(folder, test_structures="all"))[1]
    assert all(shown(patient) == ALL for patient in patients(finetuning, "test", "validation"))
    assert {name: len(site["test"]) for name, site in finetuning.items()} == {"a": 6, "b": 3, "c": 0}  # of 12 and 6


def test_patients_of_the_test_can_be_named_and_the_rest_is_drawn(folder: Path) -> None:
    finetuning = dealt(plan_of(folder, test_patients=["a/case03", "b/case01", "a/case14"]))[1]
    assert patients(finetuning, "test") == {"a/case03", "b/case01", "a/case14"}
    assert len(patients(finetuning, "validation")) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_patients": 27}, "27 test patients are asked for, and the sites have 27 to choose from"),
        ({"test_patients": 18, "test_structures": "all"}, "the sites have 18 to choose from"),
        ({"test_patients": 25}, "3 validation patients are asked for, and the sites have 2"),
        ({"test_patients": ["a/case0"]}, "names 'a/case0', which is no patient (did you mean 'a/case"),
        ({"test_patients": ["case01"]}, "names 'case01', which is 3 patients"),
        ({"test_patients": ["a/case18"]}, "names 'a/case18', whose label maps do not show any of the task's classes"),
        ({"test_patients": ["a/case13"], "test_structures": "all"}, "do not show all of the task's classes"),
    ],
)
def test_a_test_that_cannot_be_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FedSwinError) as error:
        dealt(plan_of(folder, **changes))
    assert message in str(error.value)


def test_a_class_that_a_site_has_not_annotated_is_none_that_it_shows(tmp_path: Path) -> None:
    write_labelled(tmp_path / "collection", {"a": [{1, 2}] * 3})
    plan = plan_of(tmp_path, test_patients=1, validation_patients=0, test_structures="all")
    sites = ready_sites(plan.scenario(), None, tmp_path / "sites", console=Console(quiet=True))
    path = sites / "a" / "datalist.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotated": ["one"]}))
    with pytest.raises(FedSwinError, match="1 test patients are asked for, and the sites have 0 to choose from"):
        write_deal(plan, cells_of(plan)[0], sites, sites, tmp_path / "deal")


def add_case(datalist: Path, entry: Mapping[str, str], split: str = "training") -> None:
    content = json.loads(datalist.read_text())
    datalist.write_text(json.dumps({**content, split: [*content[split], dict(entry)]}))


@pytest.mark.parametrize("stage", ["pretraining", "finetuning"])
@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_run_that_reads_a_patient_of_the_test_is_refused_by_name(tmp_path: Path, stage: str, split: str) -> None:
    """Another scan of the patient, at another hospital: neither its file nor its site tells of the leak."""
    write_labelled(tmp_path / "collection", SOURCES)
    plan = plan_of(tmp_path)
    out = deal(plan, next(cell for cell in cells_of(plan) if cell.arm == "federated"))
    refuse_leak(plan, "lump", out / "pretraining", out / "finetuning")
    tested = min(read(out / "finetuning")["a"]["test"])
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), tmp_path / "other.nii.gz")
    add_case(out / stage / "b" / "datalist.json", {"image": str(tmp_path / "other.nii.gz"), "patient": tested}, split)
    with pytest.raises(FedSwinError, match=rf"the patient '{tested}' is tested on, and is in (pre-|fine-)\w+ at b"):
        refuse_leak(plan, "lump", out / "pretraining", out / "finetuning")


def test_the_same_file_under_another_name_is_refused_too(tmp_path: Path) -> None:
    write_labelled(tmp_path / "collection", SOURCES)
    plan = plan_of(tmp_path)
    out = deal(plan, next(cell for cell in cells_of(plan) if cell.arm == "federated"))
    case = read_site(site_folders(out / "finetuning")["a"]).cases("test")[0]
    (tmp_path / "link.nii.gz").symlink_to(os.path.realpath(case.image))
    add_case(out / "pretraining" / "b" / "datalist.json", {"image": str(tmp_path / "link.nii.gz"), "patient": "x"})
    with pytest.raises(FedSwinError, match=f"the patient '{case.patient}' is tested on"):
        refuse_leak(plan, "lump", out / "pretraining", out / "finetuning")


def test_pseudonyms_of_hospitals_that_share_no_collection_are_their_own(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, data={"phantom": {"sites": 2}}, **fixed())
    sites = tiny.write_sites(tmp_path / "sites", {"a": 1, "b": 1})  # both have a patient0
    refuse_leak(plan, "lump", tmp_path / "nothing", sites)
    for site in ("a", "b"):
        assert {"patient0", "patient2"} <= {c.patient for cs in read_site(sites / site).splits.values() for c in cs}
