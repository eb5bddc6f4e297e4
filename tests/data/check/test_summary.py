"""What a site has is counted as a person would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.check.small_site import LABEL, case, hu, save
from end_to_end import tiny
from fedswin.data.check.summary import summarise
from fedswin.data.check.survey import survey
from fedswin.data.datalist import Case, write_datalist
from fedswin.data.spread import Spread

JOB = tiny.job({**tiny.FINETUNE, "segmentation": {"classes": {"tumour": 1, "organ": [2, 3], "never": 7}}})


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of three training cases with labels 1; 2 and 3; 1, 2 and 11; a test case without one."""
    folder = tmp_path / "a"
    shown = [LABEL, np.where(LABEL, 2, 3).astype(np.uint8), LABEL * np.uint8(11)]
    shown[2][:2, 0, 0] = 1, 2
    training = [case(folder, f"c{number}", hu(number), label) for number, label in enumerate(shown)]
    test = Case(save(folder, "images/t.nii.gz", hu(9)[:4], spacing=2.5))
    write_datalist(folder, {"training": training, "test": [test]})
    return folder


def test_cases_labels_sizes_and_spacings(site: Path) -> None:
    summary = summarise(survey(site).sites[0], None)
    assert summary.cases == {"training": 3, "validation": 0, "test": 1}
    assert summary.labelled == {"training": 3, "validation": 0, "test": 0}
    assert summary.classes == {"1": 2, "2": 2, "3": 1, "11": 1}
    assert summary.spacing == {axis: Spread(1.0, 1.0, 2.5) for axis in "RAS"}
    assert summary.size == {"R": Spread(4, 8, 8), "A": Spread(9, 9, 9), "S": Spread(10, 10, 10)}


def test_without_a_job_the_datalist_names_the_classes(site: Path) -> None:
    training, test = (survey(site).sites[0].site.cases(split) for split in ("training", "test"))
    write_datalist(site, {"training": training, "test": test}, label_map={"1": "liver", "2": "liver", "3": 0})
    assert summarise(survey(site).sites[0], None).classes == {"11": 1, "liver": 3}


def test_a_job_names_its_classes_and_counts_those_that_no_case_shows(site: Path) -> None:
    found = survey(site, JOB)
    assert [finding.problem for finding in found.findings if finding.severity == "error"] == [
        "unknown label values: 11"
    ]
    assert summarise(found.sites[0], JOB).classes == {"tumour": 1, "organ": 1, "never": 0}


def test_an_unreadable_case_is_counted_among_the_cases_and_nowhere_else(site: Path) -> None:
    (site / "images/t.nii.gz").write_bytes(b"")
    summary = summarise(survey(site).sites[0], None)
    assert summary.cases["test"] == 1
    assert summary.spacing["R"] == Spread(1.0, 1.0, 1.0)
