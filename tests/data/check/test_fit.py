"""What of sound data does not fit a job: too small, of a far spacing, or too much for the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import compute_shape_offset

from data.check.small_site import LABEL, hu
from end_to_end import tiny
from fedswin.config import DataSettings, Job
from fedswin.data.annotation import Annotation
from fedswin.data.cache import bytes_of, cached_bytes, entries
from fedswin.data.check.fit import fit_to_job, resampled_shape
from fedswin.data.check.site import SiteReport
from fedswin.data.check.survey import survey
from fedswin.data.datalist import Case, read_site, write_datalist
from fedswin.data.loading import Volumes
from fedswin.data.volume import Grid

SPACINGS = st.floats(0.3, 6.0)


def job(task: dict[str, Any] = tiny.PRETRAIN, **data: Any) -> Job:
    return tiny.job({**task, "data": {**task["data"], **data}})


def write_site(folder: Path, shape: tuple[int, ...] = (40, 40, 40), spacing: Any = (1.0, 1.0, 1.0)) -> Path:
    """Write a site of one labelled training case."""
    entry = Case(folder / "image.nii.gz", folder / "label.nii.gz")
    folder.mkdir(parents=True)
    for path, voxels in ((entry.image, hu(ord(folder.name))), (entry.label, LABEL)):
        nib.save(nib.Nifti1Image(np.resize(voxels, shape), np.diag([*spacing, 1.0])), path)
    write_datalist(folder, {"training": [entry]})
    return folder


def problems(folder: Path, job: Job) -> list[str]:
    found = survey(folder, job).findings
    assert {finding.severity for finding in found} <= {"warning"}
    return [finding.problem for finding in found]


@given(st.tuples(*[st.integers(1, 600)] * 3), st.tuples(*[SPACINGS] * 3), st.tuples(*[SPACINGS] * 3))
def test_the_resampled_shape_is_what_monai_makes(
    shape: tuple[int, ...], own: tuple[float, ...], wanted: tuple[float, float, float]
) -> None:
    expected, _ = compute_shape_offset(shape, np.diag([*own, 1.0]), np.diag([*wanted, 1.0]))
    found = resampled_shape(Grid(shape, own), DataSettings(spacing=wanted))
    assert np.abs(np.array(found) - expected).max() <= 1  # at exactly a half, rounding may go either way
    assert resampled_shape(Grid(shape, own), DataSettings()) == shape


def test_cases_that_annotate_no_class_of_the_job_are_counted_and_alone_they_are_no_training(tmp_path: Path) -> None:
    finetune = job(tiny.FINETUNE, roi=(64, 32, 32), spacing=None)
    folder, values = write_site(tmp_path / "a", (64, 40, 40)), tuple(finetune.segmentation.known_values - {0})
    [case] = read_site(folder).cases("training")
    for own, expected in (
        ([values, (99,)], ["1 of 2 labelled cases annotate no class of the job, and are left out"]),
        ([(99,)], ["no training case has a label of a class of the job, and the job fine-tunes", "1 of 1 labelled"]),
    ):
        cases = [replace(case, annotation=Annotation(annotated)) for annotated in own]
        write_datalist(folder, {"training": cases})
        found = [f.problem for f in fit_to_job(SiteReport(read_site(folder), [], []), finetune)]
        assert len(found) == len(expected)
        assert all(problem.startswith(start) for problem, start in zip(found, expected, strict=True))


def test_an_image_smaller_than_the_crop_is_named_with_what_would_be_padded(tmp_path: Path) -> None:
    site = write_site(tmp_path / "a", (40, 40, 16))
    [problem] = problems(site, job())
    assert problem == (
        "50% of a crop would be padding: it has 40 × 40 × 16 voxels at the job's spacing, and data.roi is 32 × 32 × 32"
    )
    assert problems(site, job(spacing=[1.0, 1.0, 0.5])) != []  # 31 voxels
    assert problems(site, job(spacing=[1.0, 1.0, 0.4])) == []  # 39 voxels


def test_sizes_are_compared_along_the_patient_s_axes(tmp_path: Path) -> None:
    site = write_site(tmp_path / "a", (66, 40, 36))
    image = nib.load(site / "image.nii.gz")
    turned = nib.Nifti1Image(np.asanyarray(image.dataobj).transpose(2, 0, 1), np.eye(4)[[1, 2, 0, 3]])
    assert nib.aff2axcodes(turned.affine) == ("S", "R", "A")
    nib.save(turned, site / "image.nii.gz")
    assert survey(site).sites[0].cases[0].grid == Grid((66, 40, 36), (1.0, 1.0, 1.0))
    nib.save(nib.Nifti1Image(np.resize(LABEL, (36, 66, 40)), turned.affine), site / "label.nii.gz")
    assert problems(site, job(tiny.FINETUNE, roi=[64, 32, 32])) == []


@pytest.mark.parametrize(("spacing", "far"), [(4.0, False), (4.1, True), (0.25, False), (0.24, True)])
def test_a_spacing_over_four_times_off_is_named(tmp_path: Path, spacing: float, far: bool) -> None:
    site = write_site(tmp_path / "a", spacing=(1.0, 1.0, spacing))
    found = [problem for problem in problems(site, job(spacing=[1.0, 1.0, 1.0])) if "over 4 times" in problem]
    assert [f"its spacing is 1 × 1 × {spacing:g} mm" in problem for problem in found] == [True] * far
    assert problems(site, job()) == []


class Usage(NamedTuple):
    free: int
    total: int = 0


@pytest.mark.parametrize("task", [tiny.PRETRAIN, tiny.FINETUNE], ids=["pretrain", "finetune"])
def test_the_estimate_of_the_cache_bounds_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: dict[str, Any]
) -> None:
    monkeypatch.setenv("FEDSWIN_CACHE", str(tmp_path / "cache"))
    folder = tiny.write_sites(tmp_path / "sites", {"a": 1}) / "a"
    [case] = survey(folder).sites[0].site.cases("training")
    settings = job(task, cache="disk", spacing=[1.5, 1.5, 1.5])
    Volumes([case], settings)
    [written] = entries(tmp_path / "cache")
    estimate = cached_bytes(settings, resampled_shape(Grid((66, 40, 36), (2.0, 2.0, 2.0)), settings.data))
    assert 0.7 * estimate < bytes_of(written) < estimate + 10_000


def test_a_disk_too_small_for_the_cache_is_named_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSWIN_CACHE", str(tmp_path / "not yet" / "cache"))
    for name in "ab":
        write_site(tmp_path / "sites" / name)
    needed = 2 * 40**3 * 2

    def problems_with(free: int, **data: str) -> list[str]:
        monkeypatch.setattr("shutil.disk_usage", {tmp_path: Usage(free)}.__getitem__)  # the nearest folder that exists
        return problems(tmp_path / "sites", job(**data))

    assert problems_with(needed, cache="disk") == []
    assert problems_with(needed - 1) == []
    assert len(problems_with(needed - 1, cache="disk")) == 1
    assert problems_with(1000, cache="disk") == ["2 cases may take 0.000256 GB, and the cache may take 1e-06 GB"]
    monkeypatch.setenv("FEDSWIN_CACHE_GB", "0.0001")
    assert len(problems_with(needed, cache="disk")) == 1
    monkeypatch.setenv("FEDSWIN_CACHE_GB", "0.1")
    assert problems_with(needed, cache="disk") == []
