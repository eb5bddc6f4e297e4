"""Which case a cell trains on and is tested on."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.studies import write_collection, write_plan
from fedswin.data.datalist import read_datalist, read_site, site_folders, write_datalist
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import Cell, cells_of, pretraining_key
from fedswin.experiments.dealing import draw, ready_sites, write_deal
from fedswin.experiments.plan import Dealing, Plan

SOURCES = {"a": (5, 2), "b": (4, 0), "c": (0, 3)}
SMALL = (4, 4, 4)
_number = count()

Dealt = dict[str, dict[str, set[str]]]
"""The scans of each site and split, by where the file really lies."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_collection(folder / "collection", SOURCES, SMALL)
    return folder


def sites_of(plan: Plan, task: str | None = None, dealing: Dealing | None = None) -> Path:
    return ready_sites(plan.scenario(task), dealing, plan.path.parent / "sites", console=Console(quiet=True))


def deal(plan: Plan, cell: Cell, *, own: bool = False) -> tuple[Dealt, Dealt]:
    out = plan.path.parent / f"deal{next(_number)}"
    write_deal(plan, cell, sites_of(plan), sites_of(plan, cell.task if own else None), out)
    return read(out / "pretraining"), read(out / "finetuning")


def read(folder: Path) -> Dealt:
    sites = map(read_site, site_folders(folder).values())
    return {
        site.name: {
            split: {os.path.relpath(os.path.realpath(case.image), folder.parents[1] / "collection") for case in cases}
            for split, cases in site.splits.items()
        }
        for site in sites
    }


def scans(dealt: Dealt, split: str) -> set[str]:
    return {scan for site in dealt.values() for scan in site[split]}


def first(plan: Plan, **changes: Any) -> Cell:
    return replace(next(cell for cell in cells_of(plan) if cell.arm == "federated"), **changes)


def test_as_many_seeds_as_folds_test_each_labelled_case_once(folder: Path) -> None:
    plan = write_plan(folder, folds=3)
    tested = Counter(scan for seed in (3, 4, 5) for scan in scans(deal(plan, first(plan, seed=seed))[1], "test"))
    labelled = {f"{source}/case{case}/ct.nii.gz" for source, (cases, _) in SOURCES.items() for case in range(cases)}
    assert tested == Counter(labelled)


def test_folds_of_data_of_its_own_are_all_fine_tuned_from_one_encoder(folder: Path, tmp_path: Path) -> None:
    write_collection(tmp_path / "collection", {"d": (5, 1)}, SMALL)
    own = {"job": "finetune.yaml", "data": {"shard": {"collection": str(tmp_path / "collection"), "by": "source"}}}
    seeds = {"seeds": None, "encoder_seeds": [7], "finetune_seeds": [0, 1, 2], "folds": 3}
    plan = write_plan(
        folder, "own_folds", **seeds, tasks={"own": own}, pretraining={"job": "pretrain.yaml", "cases": [1]}
    )
    cells = [cell for cell in cells_of(plan) if cell.arm == "central"]
    deals = [deal(plan, cell, own=True) for cell in cells]
    assert len({pretraining_key(plan, cell) for cell in cells}) == 1
    assert all(pretraining == deals[0][0] for pretraining, _ in deals)
    tested = [scan for _, finetuning in deals for scan in scans(finetuning, "test")]
    assert len(tested) == len(set(tested)) == 5
    for _, finetuning in deals:
        assert not scans(finetuning, "training") & scans(finetuning, "test")
        assert len(scans(finetuning, "training") | scans(finetuning, "test")) == 5


def test_nothing_is_both_trained_on_and_tested_on_and_pre_training_has_all_the_rest(folder: Path) -> None:
    plan = write_plan(folder, folds=2)
    pretraining, finetuning = deal(plan, first(plan))
    tested = scans(finetuning, "test")
    assert tested
    assert not tested & scans(finetuning, "training")
    everything = {
        f"{source}/case{case}/ct.nii.gz" for source, numbers in SOURCES.items() for case in range(sum(numbers))
    }
    assert scans(pretraining, "training") == everything - tested


def test_of_few_labels_the_fewer_are_among_the_more_and_the_test_is_the_same(folder: Path) -> None:
    plan = write_plan(folder, folds=3)
    dealt = [deal(plan, first(plan, labels=labels))[1] for labels in (1, 2, "all")]
    training = [scans(one, "training") for one in dealt]
    assert training[0] < training[1] < training[2]
    assert [len(one) for one in training[:2]] == [2, 4]  # of two sites with labels
    assert len({frozenset(scans(one, "test")) for one in dealt}) == 1


def test_another_seed_draws_other_labels(folder: Path) -> None:
    plan = write_plan(folder, folds=2)
    drawn = {
        frozenset(scans(deal(plan, first(plan, labels=1, seed=seed))[1], "training")) for seed in range(0, 12, 2)
    }  # all of the same fold
    assert len(drawn) > 1


def test_the_size_of_the_pre_training_set_is_a_number_of_cases_of_each_site(folder: Path) -> None:
    plan = write_plan(folder, folds=2)
    two, four = (deal(plan, first(plan, cases=cases))[0] for cases in (2, 4))
    assert [len(site["training"]) for site in two.values()] == [2, 2, 2]
    assert [len(site["training"]) for site in four.values()] == [4, 2, 3]  # b has 4 of which 2 are tested on, c has 3
    assert scans(two, "training") < scans(four, "training")


def test_a_hospital_that_is_left_out_trains_on_nothing_and_is_tested_on_all_its_labelled_cases(folder: Path) -> None:
    plan = write_plan(folder, left_out=["a"])
    pretraining, finetuning = deal(plan, first(plan))
    assert "a" not in pretraining
    assert finetuning["a"]["training"] == set()
    assert len(finetuning["a"]["test"]) == 5
    assert finetuning["b"]["test"] == set()
    assert len(finetuning["b"]["training"]) == 4


def test_only_the_sites_of_the_task_are_fine_tuned_and_tested(folder: Path) -> None:
    plan = write_plan(folder, tasks={"lump": {"job": "finetune.yaml", "sites": ["b"]}})
    pretraining, finetuning = deal(plan, first(plan))
    assert list(finetuning) == ["b"]
    assert len(pretraining["a"]["training"]) == 7  # none of its cases is tested on


def test_a_task_with_data_of_its_own_takes_nothing_from_pre_training(folder: Path) -> None:
    write_collection(folder / "own", {"d": (4, 0)}, SMALL)
    own = {"shard": {"collection": "own", "by": "iid", "sites": 2}}
    plan = write_plan(folder, tasks={"lump": {"job": "finetune.yaml", "data": own}})
    pretraining, finetuning = deal(plan, first(plan), own=True)
    assert set(finetuning) == {"site_1", "site_2"}
    assert len(scans(pretraining, "training")) == 14


def test_a_task_whose_own_data_are_pre_trained_on_is_refused(folder: Path) -> None:
    own = {"shard": {"collection": "collection", "by": "iid", "sites": 2, "only": "a/*"}}
    plan = write_plan(folder, tasks={"lump": {"job": "finetune.yaml", "data": own}})
    with pytest.raises(FedSwinError, match="is in the data of pre-training, too"):
        deal(plan, first(plan), own=True)


def test_a_copy_of_what_is_pre_trained_on_is_found_under_another_name(folder: Path) -> None:
    write_collection(folder / "copied", {"d": (4, 0)}, SMALL)
    shutil.copy(
        next((folder / "collection" / "a").glob("*/ct.nii.gz")), next((folder / "copied").glob("*/*/ct.nii.gz"))
    )
    own = {"shard": {"collection": "copied", "by": "iid", "sites": 2}}
    plan = write_plan(folder, tasks={"lump": {"job": "finetune.yaml", "data": own}})
    with pytest.raises(FedSwinError, match="is in the data of pre-training, too"):
        deal(plan, first(plan), own=True)


def test_no_scan_of_a_patient_that_is_tested_on_is_pre_trained_on(tmp_path: Path) -> None:
    write_collection(tmp_path / "collection", {"a": (4, 4)}, SMALL)
    plan = write_plan(tmp_path)
    folder = sites_of(plan) / "a"
    splits, _ = read_datalist(folder / "datalist.json")
    cases = sorted((case for of in splits.values() for case in of), key=lambda case: str(case.image))
    twice = [replace(case, patient=f"patient{number % 4}") for number, case in enumerate(cases)]
    write_datalist(folder, {"training": twice})  # each patient has a scan with a label, and one without
    pretraining, finetuning = deal(plan, first(plan))
    assert (len(scans(finetuning, "test")), len(scans(pretraining, "training"))) == (2, 4)


def test_a_site_that_is_to_pre_train_alone_needs_a_case(tmp_path: Path) -> None:
    write_collection(tmp_path / "collection", {"a": (4, 0), "b": (2, 0)}, SMALL)
    plan = write_plan(tmp_path, pretraining={"job": "pretrain.yaml", "local": "b"}, left_out=["b"], arms=["federated"])
    cell = replace(first(plan), arm="local")
    with pytest.raises(FedSwinError, match="b is to pre-train alone, and has no case"):
        deal(plan, cell)


def test_a_site_with_one_labelled_patient_trains_on_it(tmp_path: Path) -> None:
    write_collection(tmp_path / "collection", {"a": (4, 0), "b": (1, 0)}, SMALL)
    plan = write_plan(tmp_path)
    for seed in (0, 1):
        finetuning = deal(plan, first(plan, seed=seed))[1]
        assert (len(finetuning["b"]["training"]), len(finetuning["b"]["test"])) == (1, 0)


def test_cases_can_be_dealt_again_and_none_is_lost(folder: Path) -> None:
    plan = write_plan(folder)
    dealing = Dealing(by="quantity", sites=2, alpha=1.0)
    dealt = read(sites_of(plan, dealing=dealing))
    assert len(dealt) == 2
    assert len(scans(dealt, "training")) == 14
    assert sites_of(plan, dealing=dealing) == sites_of(plan, dealing=dealing)  # made once, and found again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": {"lump": {"job": "finetune.yaml", "sites": ["bb"]}}}, "no site 'bb' (did you mean 'b'?)"),
        ({"left_out": ["x"]}, "no site 'x'"),
        ({"pretraining": {"job": "pretrain.yaml", "local": "x"}}, "no site 'x'"),
        ({"tasks": {"lump": {"job": "finetune.yaml", "sites": ["c"]}}}, "no labelled case is left for training"),
    ],
)
def test_a_plan_that_does_not_fit_its_data_is_refused_and_leaves_nothing(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    plan = write_plan(folder, **changes)
    with pytest.raises(FedSwinError) as error:
        write_deal(plan, first(plan), sites_of(plan), sites_of(plan), folder / "refused")
    assert message in str(error.value)
    assert not (folder / "refused").exists()


def test_fewer_cases_than_asked_for_are_all_of_them() -> None:
    assert draw([], 3, "a", "labels", 0) == []


def test_what_was_annotated_in_a_case_goes_with_it_when_cases_are_dealt_again(folder: Path) -> None:
    data = {"shard": {"collection": "collection", "by": "source", "annotated": "label-maps"}}
    plan = write_plan(folder, "annotated", data=data)
    dealt = sites_of(plan, dealing=Dealing(by="iid", sites=2))
    sites = [read_site(site) for site in site_folders(dealt).values()]
    found = Counter(case.annotation.annotated for site in sites for case in site.cases("training"))
    assert found == {(1,): 9, None: 5}
    of_another = {"segmentation.classes": {"other": 2}, "segmentation.background": [1]}
    other = write_plan(folder, "other", data=data, tasks={"lump": {"job": "finetune.yaml", "set": of_another}})
    with pytest.raises(FedSwinError, match="no labelled case is left for training"):
        deal(other, first(other))
