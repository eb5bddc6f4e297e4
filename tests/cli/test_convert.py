"""``fedswin data convert``: what it says on the screen, and how it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cli.study import Command
from data.convert.archive import ct, save
from data.convert.dicom_builder import write_series


@pytest.fixture
def archive(study: Path) -> Path:
    """The folder ``archive`` beside a study."""
    for number in range(3):
        save(study / "archive" / f"p{number}" / "ct.nrrd", ct(number))
    save(study / "archive" / "p0" / "label.nrrd", (ct() > 0).astype(np.uint8))
    write_series(study / "archive" / "scout", Modality="MR")
    return study / "archive"


def test_an_archive_becomes_a_site_folder_that_can_be_checked(archive: Path, fedswin: Command) -> None:
    code, out, error = fedswin("data", "convert", "archive", "new sites/hospital")
    assert (code, error) == (0, "")
    assert "new sites/hospital: 3 cases of 3 patients: 2 training, 1 validation, 0 test" in out  # one label
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert cells == [["NRRD", "3", "1"], ["MR, not CT", "6", ""]]
    assert "scout" not in out
    code, out, _ = fedswin("data", "check", "new sites")
    assert (code, out.splitlines()[0]) == (0, "hospital: nothing is wrong")


def test_one_case_is_one_case(archive: Path, fedswin: Command) -> None:
    _, out, _ = fedswin("data", "convert", "archive/p0", "site")
    assert "site: 1 case of 1 patient: 1 training, 0 validation, 0 test" in out


def test_verbose_names_where_what_is_left_out_lies(archive: Path, fedswin: Command) -> None:
    _, out, _ = fedswin("data", "convert", "archive", "site", "--verbose")
    assert f"- {archive}/scout/IM0000 (files: 6): MR, not CT" in out


def test_a_mistake_is_one_message(archive: Path, fedswin: Command) -> None:
    code, out, error = fedswin("data", "convert", "archive", "the sites")
    assert (code, out) == (1, "")
    there = archive.with_name("the sites")
    assert error == f"Error: {there} exists. Choose another name, or add --overwrite to replace it.\n"


def test_without_the_extra_it_says_what_to_install(
    archive: Path, fedswin: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("fedswin.data.convert")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pebble", None)
    assert fedswin("data", "convert", "archive", "site") == (
        1,
        "",
        'Error: A conversion needs pebble: pip install "fedswin[dicom]"\n',
    )
