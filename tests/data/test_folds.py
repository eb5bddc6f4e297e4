"""Folds: every patient is held out once, whatever the order of the list, and test cases never move."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedswin.config import Job, parse_job
from fedswin.data.datalist import Case, Site
from fedswin.data.folds import fold_of_patients, in_fold
from fedswin.errors import FedSwinError
from fedswin.operations.train import pool_sites
from fedswin.tasks import training_cases


def job(fold: int | None, **data: object) -> Job:
    content = {"name": "folds", "task": "pretrain", "data": {"fold": fold, "roi": [32, 32, 32], **data}}
    return parse_job(content, "test")


def site(patients: list[str], test: list[str], name: str = "north") -> Site:
    """Two cases a patient; the first half of the patients is training, the rest validation."""
    cases = [Case(Path(f"{patient}_{scan}.nii.gz"), None, patient) for patient in patients for scan in (1, 2)]
    held_out = [Case(Path(f"{patient}.nii.gz"), None, patient) for patient in test]
    return Site(
        name,
        Path("north"),
        {"training": cases[: len(cases) // 2], "validation": cases[len(cases) // 2 :], "test": held_out},
    )


PATIENTS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=20, unique=True)


@given(PATIENTS, st.integers(2, 7))
def test_every_patient_is_held_out_in_one_fold_and_trained_on_in_the_others(patients: list[str], folds: int) -> None:
    whole = site(patients, ["t1", "t2"])
    held_out = []
    for fold in range(folds):
        one = in_fold(whole, job(fold, folds=folds))
        training, validation = ({case.patient for case in one.cases(split)} for split in ("training", "validation"))
        assert not training & validation
        assert training | validation == set(patients)
        assert len(one.cases("training")) + len(one.cases("validation")) == 2 * len(patients)
        assert one.cases("test") == whole.cases("test")
        held_out += sorted(validation)
    assert sorted(held_out) == sorted(patients)


@given(PATIENTS, st.integers(0, 100))
def test_the_order_of_the_list_does_not_matter(patients: list[str], seed: int) -> None:
    shuffled = random.Random(seed).sample(patients, len(patients))
    for fold in range(5):
        one, other = (in_fold(site(names, []), job(fold)) for names in (patients, shuffled))
        for split in ("training", "validation"):
            assert set(one.cases(split)) == set(other.cases(split))


@given(PATIENTS)
def test_the_sizes_of_folds_differ_by_one_at_most(patients: list[str]) -> None:
    folds = list(fold_of_patients(set(patients), 5, 0, "north").values())
    sizes = [folds.count(fold) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 1


def test_the_deal_is_the_sites_and_the_seeds_own() -> None:
    patients = {f"p{number}" for number in range(40)}
    deal = fold_of_patients(patients, 5, 0, "north")
    assert deal == fold_of_patients(patients, 5, 0, "north")
    assert deal != fold_of_patients(patients, 5, 1, "north")
    assert deal != fold_of_patients(patients, 5, 0, "south")


def test_a_site_of_fewer_patients_than_folds_has_folds_without_validation() -> None:
    few = site(["a", "b"], [])
    counts = [len(in_fold(few, job(fold)).cases("validation")) for fold in range(5)]
    assert counts == [2, 2, 0, 0, 0]
    assert [training_cases(job(fold), few) for fold in range(5)] == [2, 2, 4, 4, 4]


def test_without_a_fold_the_split_is_the_datalists() -> None:
    whole = site(["a", "b", "c"], ["t"])
    assert in_fold(whole, job(None)) is whole


def test_a_fold_that_is_not_there_is_refused() -> None:
    with pytest.raises(FedSwinError, match="fold 5: there are 5 folds, numbered from 0"):
        job(5)


@given(PATIENTS, st.integers(0, 4))
def test_pooled_sites_have_the_folds_that_they_have_apart(patients: list[str], fold: int) -> None:
    apart = [site(patients, [], name) for name in ("north", "south")]  # the pseudonyms of one are those of the other
    pooled = in_fold(pool_sites(apart), job(fold))
    for split in ("training", "validation"):
        expected = [(one.name, case.patient) for one in apart for case in in_fold(one, job(fold)).cases(split)]
        assert sorted((case.site, case.patient) for case in pooled.cases(split)) == sorted(expected)
