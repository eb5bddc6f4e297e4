"""Datalists are compared by name and by series, in the forms in which they are published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fedswin.data.check.lists import compare_lists, read_list
from fedswin.errors import FedSwinError

ROOT = "1.3.6.1.4.1.14519.5.2.1"
SERIES = [f"{ROOT}.6279.6001.{number}" for number in range(100_000, 101_018)]


def write(path: Path, *training: Any, **splits: Sequence[Any]) -> Path:
    path.write_text(json.dumps({"training": training, **splits}))
    return path


def numbered(path: Path, numbers: range) -> Path:
    """Write a list as those of HNSCC and of CT colonography are: the cases of each are numbered from 0."""
    images = [{"image": f"images/img_{number}.nii.gz"} for number in numbers]
    return write(path, *images[5:], validation=images[:5])


def luna16(folder: Path) -> Path:
    """Write a list whose file names are series UIDs."""
    return write(folder / "luna16.json", *[{"image": f"subset_0/{uid}.nii.gz", "label": "x"} for uid in SERIES[:888]])


def test_names_on_two_lists_are_a_warning_with_their_number_and_a_few_of_them(tmp_path: Path) -> None:
    hnscc, colonography = (
        numbered(tmp_path / "hnscc.json", range(1287)),
        numbered(tmp_path / "ctc.json", range(685, 2284)),
    )
    found = compare_lists([hnscc, colonography])
    [finding] = found.findings
    assert (finding.severity, finding.where) == ("warning", "hnscc.json, ctc.json")
    assert finding.problem == (
        "602 names are on both (of 1287 cases of hnscc.json and 1599 of ctc.json): img_1000, img_1001, img_1002 …"
    )
    assert "compares voxels" in finding.fix
    assert {name: len(listed.names) for name, listed in found.lists.items()} == {"hnscc.json": 1287, "ctc.json": 1599}


LIDC = {
    "series_uid": lambda number, uid: {"image": f"Image_LIDC/LIDC-IDRI-{number:04}_0.nii.gz", "series_uid": uid},
    "SeriesInstanceUID": lambda number, uid: {"image": f"LIDC-IDRI-{number:04}_0.nii.gz", "SeriesInstanceUID": uid},
    "path": lambda number, uid: {"image": f"LIDC-IDRI-{number:04}/{ROOT}.9.{number}/{uid}/ct.nii.gz"},
    "plain path": lambda number, uid: f"LIDC-IDRI-{number:04}/{ROOT}.9.{number}/{uid}.nii",
}


@pytest.mark.parametrize("entry", LIDC.values(), ids=LIDC)
def test_luna16_is_found_in_lidc_idri_by_series_whatever_form_the_list_has(tmp_path: Path, entry: Any) -> None:
    lidc = write(tmp_path / "lidc.json", *[entry(number, uid) for number, uid in enumerate(SERIES)])
    [finding] = compare_lists([luna16(tmp_path), lidc]).findings
    assert finding.severity == "error"
    assert finding.problem.startswith("888 series are on both (of 888 cases of luna16.json and 1018 of lidc.json): ")
    assert finding.problem.endswith(", ".join(SERIES[:3]) + " …")


def test_lists_that_share_nothing_have_no_findings(tmp_path: Path) -> None:
    other = write(tmp_path / "other.json", *[f"{uid}9.nii.gz" for uid in SERIES])
    assert compare_lists([luna16(tmp_path), other, numbered(tmp_path / "hnscc.json", range(50))]).findings == []


def test_every_pair_of_three_lists_is_compared(tmp_path: Path) -> None:
    paths = [
        numbered(tmp_path / f"{name}.json", range(start, start + 20))
        for name, start in (("a", 0), ("b", 10), ("c", 15))
    ]
    found = compare_lists(paths).findings
    assert [finding.where for finding in found] == ["a.json, b.json", "a.json, c.json", "b.json, c.json"]
    assert [int(finding.problem.split()[0]) for finding in found] == [10, 5, 15]


def test_a_repeated_file_name_is_told_apart_by_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", "case_1/ct.nii.gz", {"image": "case_2/ct.nii.gz"}, test=["case_3/ct.nii"])
    assert read_list(path).names == ("case_1/ct", "case_2/ct", "case_3/ct")


def test_a_version_or_a_date_in_a_name_is_no_uid(tmp_path: Path) -> None:
    assert read_list(write(tmp_path / "a.json", "v1.2.3/scan_2024.01.31.nii.gz")).series == {}


@pytest.mark.parametrize("names", [["a.json"], ["a.json", "a.json"], ["a.json", "./a.json"]])
def test_fewer_than_two_lists_are_refused(tmp_path: Path, names: list[str]) -> None:
    numbered(tmp_path / "a.json", range(9))
    with pytest.raises(FedSwinError, match="give two different files or more"):
        compare_lists([tmp_path / name for name in names])


@pytest.mark.parametrize("content", ["", "[]", '{"training": 3}', '{"training": [{"img": "x"}]}'])
def test_what_is_no_datalist_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(FedSwinError, match=r"b\.json: "):
        compare_lists([luna16(tmp_path), tmp_path / "b.json"])
