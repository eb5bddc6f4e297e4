"""A few damaged cases are left out as if they were not on the datalist; more, or a bad datalist, are refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from end_to_end import tiny
from fedswin.config import Job
from fedswin.data.datalist import Case, Site, read_site, write_datalist
from fedswin.data.usable_cases import usable_cases
from fedswin.errors import FedSwinError


def job(content: dict = tiny.FINETUNE, allowed: int = 1) -> Job:
    return tiny.job({**content, "data": {**content["data"], "max_bad_cases": allowed}})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Three training cases, one for validation and one for the test."""
    return read_site(tiny.write_sites(tmp_path, {"a": 3}) / "a")


def truncate(path: Path | None) -> None:
    assert path
    path.write_bytes(path.read_bytes()[:-300])


def test_a_sound_site_stays_as_it_is(site: Site) -> None:
    assert usable_cases(job(), site) == (site, [])


def test_a_label_of_another_shape_is_a_fault_of_its_case(site: Site) -> None:
    first, *others = site.cases("training")
    nib.save(nib.Nifti1Image(np.zeros((66, 40, 35), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])), first.label)
    usable, [warning] = usable_cases(job(), site)
    assert usable.cases("training") == others
    assert "has shape (66, 40, 35), but its image (66, 40, 36)" in str(warning)


@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_damaged_case_is_left_out_and_named_with_a_warning(site: Site, split: str) -> None:
    first, *others = site.cases(split)
    truncate(first.image)
    usable, [warning] = usable_cases(job(), site)
    assert usable.splits == {**site.splits, split: others}
    assert (warning.severity, warning.case) == ("warning", first)
    assert str(warning).startswith(f"a/images/{first.image.name}: cannot be read as NIfTI")
    assert str(warning).endswith("Until then the case will be skipped.")


def test_cases_of_training_and_validation_count_together_and_all_faults_are_listed(site: Site) -> None:
    images = [site.cases(split)[0].image for split in ("training", "validation")]
    for image in images:
        truncate(image)
    with pytest.raises(FedSwinError) as refusal:
        usable_cases(job(), site)
    assert all(f"- a/images/{image.name}: cannot be read" in str(refusal.value) for image in images)
    assert "- a: too many cases cannot be used: 2, and data.max_bad_cases is 1." in str(refusal.value)
    usable, warnings = usable_cases(job(allowed=2), site)
    assert ([len(usable.cases(split)) for split in ("training", "validation")], len(warnings)) == ([2, 0], 2)


def test_a_case_of_two_faults_is_one_bad_case(site: Site) -> None:
    case = site.cases("training")[1]
    truncate(case.image)
    truncate(case.label)
    usable, warnings = usable_cases(job(), site)
    assert case not in usable.cases("training")
    assert [warning.where for warning in warnings] == [f"a/{part}/case1.nii.gz" for part in ("images", "labels")]


def test_strict_refuses_what_would_be_skipped_and_does_not_say_that_it_will(site: Site) -> None:
    truncate(site.cases("training")[0].image)
    with pytest.raises(FedSwinError, match="case0.nii.gz: cannot be read") as refusal:
        usable_cases(job(), site, strict=True)
    assert "skipped" not in str(refusal.value)


def test_a_datalist_that_does_not_fit_the_job_is_no_bad_case(site: Site) -> None:
    write_datalist(site.folder, site.splits, annotated=["lumb"])
    with pytest.raises(FedSwinError, match="datalist.json: 'annotated' names 'lumb'"):
        usable_cases(job(allowed=10), read_site(site.folder))


def test_what_a_job_does_not_read_cannot_be_bad(site: Site) -> None:
    """The test cases, the labels in pre-training, and in fine-tuning the images that have none."""
    [test] = site.cases("test")
    truncate(test.image)
    unlabelled, *others = site.cases("training")
    bare = Site(site.name, site.folder, {**site.splits, "training": [Case(unlabelled.image), *others]})
    truncate(unlabelled.image)
    assert usable_cases(job(allowed=0), bare) == (bare, [])
    for case in others:
        truncate(case.label)
    usable, _ = usable_cases(job(tiny.PRETRAIN), site)
    assert usable.cases("training") == others
