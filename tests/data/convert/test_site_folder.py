"""Twins, people and splits, on cases that were never written."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fedswin.data.convert.case_files import ConvertedCase
from fedswin.data.convert.site_folder import Converted, draw_pseudonyms, draw_splits, without_twins
from fedswin.data.convert.source import Source


def converted(number: int, patient: str, voxels: str, *, labelled: bool = False) -> Converted:
    name = f"case{number}"
    files = {f"images/{name}.nii.gz": "", **({f"labels/{name}.nii.gz": ""} if labelled else {})}
    case = ConvertedCase(name, "NIfTI", (1, 1, 1), (1.0, 1.0, 1.0), (), voxels, files)
    return Converted(Source((Path(str(number)),), "NIfTI", patient), case)


found = st.lists(st.tuples(st.sampled_from("pqrstu"), st.sampled_from("abcdefgh"), st.booleans()), max_size=12).map(
    lambda drawn: [converted(n, patient, voxels, labelled=label) for n, (patient, voxels, label) in enumerate(drawn)]
)


@given(found)
def test_voxels_are_kept_once_and_with_a_label_map_if_there_is_one(items):
    kept, left_out = without_twins(items)
    assert sorted(item.case.voxels for item in kept) == sorted({item.case.voxels for item in items})
    labelled = {item.case.voxels for item in items if item.case.label}
    assert {item.case.voxels for item in kept if item.case.label} == labelled
    assert len(kept) + len(left_out) == len(items)


@given(found)
def test_patients_are_one_person_exactly_if_shared_voxels_lead_from_one_to_the_other(items):
    pseudonyms = draw_pseudonyms(items)
    voxels = {patient: {item.case.voxels for item in items if item.source.patient == patient} for patient in pseudonyms}
    for patient, name in pseudonyms.items():
        reached = {patient}
        while more := {other for other in voxels for one in reached if voxels[other] & voxels[one]} - reached:
            reached |= more
        assert {other for other in pseudonyms if pseudonyms[other] == name} == reached


@given(found, st.integers(0, 9))
def test_a_person_s_cases_come_into_one_split_and_the_same_each_time(items, seed):
    def deal():
        pseudonyms = draw_pseudonyms(items)
        kept, _ = without_twins(items)
        splits = draw_splits(kept, pseudonyms, validation=0.2, test=0.2, seed=seed)
        return splits, pseudonyms

    splits, pseudonyms = deal()
    where = {(pseudonyms[item.source.patient], name) for name, dealt in splits.items() for item in dealt}
    assert len(where) == len({person for person, _ in where})
    assert deal()[0] == splits


def test_an_archive_s_test_cases_are_of_patients_with_a_label_map():
    items = [converted(number, f"p{number}", f"v{number}", labelled=number < 20) for number in range(30)]
    for seed in range(30):
        pseudonyms = draw_pseudonyms(items)
        splits = draw_splits(items, pseudonyms, validation=0.2, test=0.2, seed=seed)
        assert {name: len(of) for name, of in splits.items()} == {"training": 22, "validation": 4, "test": 4}
        assert all(item.case.label for name in ("validation", "test") for item in splits[name])
