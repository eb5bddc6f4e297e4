"""An image that is there twice is found by its voxels, in a split, across splits and across sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from data.check.small_site import case, hu
from fedswin.data.check.digest import voxel_digest
from fedswin.data.check.survey import survey
from fedswin.data.datalist import Case, write_datalist

AXES = [codes for sides in ("RAS", "LPS", "SAR", "PIR", "ILA") for codes in [tuple(sides)]]
TRAINING, TEST = ("training", "training"), ("training", "test")


def write_site(folder: Path, cases: list[tuple[str, Case]]) -> Path:
    splits = {name: [found for split, found in cases if split == name] for name in ("training", "validation", "test")}
    write_datalist(folder, splits)
    return folder


def twins(folder: Path, splits: tuple[str, str], patients: tuple[str, str]) -> Path:
    """Write a site of two cases with the same image, and one with another."""
    cases = [case(folder, name, hu(7)) for name in ("x", "y")]
    entries = [(s, Case(c.image, c.label, p)) for s, c, p in zip(splits, cases, patients, strict=True)]
    return write_site(folder, [*entries, ("training", case(folder, "z", hu(8)))])


@pytest.mark.parametrize(
    ("splits", "patients", "severity", "words"),
    [
        (TRAINING, ("p", "p"), "warning", "is in training more than once"),
        (TRAINING, ("p", "q"), "warning", "is in training as that of several patients"),
        (TEST, ("p", "q"), "error", "is in training and test"),
    ],
)
def test_twins_at_a_site(
    tmp_path: Path, splits: tuple[str, str], patients: tuple[str, str], severity: str, words: str
) -> None:
    [finding] = survey(twins(tmp_path / "a", splits, patients)).findings
    assert (finding.severity, finding.where) == (severity, "a/images/x.nii.gz = a/images/y.nii.gz")
    assert words in finding.problem


def test_an_image_at_two_sites_is_an_error_of_neither_alone(tmp_path: Path) -> None:
    for name, split in (("a", "training"), ("b", "test")):
        folder = tmp_path / name
        write_site(folder, [(split, case(folder, "same", hu(7))), ("training", case(folder, "own", hu(ord(name))))])
    found = survey(tmp_path)
    assert [report.findings for report in found.sites] == [[], []]
    [finding] = found.overall
    assert (finding.severity, finding.problem) == ("error", "the same image is at a and b (splits: test, training)")
    assert finding.where == "a/images/same.nii.gz = b/images/same.nii.gz"
    assert survey(tmp_path / "a").findings == []


def test_twins_are_known_however_their_files_are_written(tmp_path: Path) -> None:
    """Another type on disk, another scaling, other axes, another compression and another place in space."""
    first, folder = hu(7), tmp_path / "a"
    plain = case(folder, "plain", first)
    image = nib.Nifti1Image(first, np.diag([1.0, 1, 1, 1]))
    turned = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("LPS")))
    shifted = nib.Nifti1Image(first.astype(np.float32), np.diag([2.0, 2, 2, 1]))
    scaled = nib.Nifti1Image((first + 1024.0), np.eye(4))
    scaled.header.set_data_dtype(np.int16)
    scaled.header.set_slope_inter(1, -1024)
    others = {"turned": turned, "shifted": shifted, "scaled": nib.Nifti1Image(first, np.eye(4), scaled.header)}
    written = [Case(folder / f"images/{name}.nii") for name in others]
    for other, entry in zip(others.values(), written, strict=True):
        nib.save(other, entry.image)
    write_site(folder, [("training", entry) for entry in [plain, *written]])
    [finding] = survey(folder).findings
    assert finding.where.count(" = ") == len(others)


@given(st.sampled_from(AXES), st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_the_digest_does_not_depend_on_how_axes_are_stored(axes: tuple[str, ...], seed: int, channels: int) -> None:
    voxels = np.random.default_rng(seed).integers(-1000, 1000, (3, 4, 5, channels)[: 3 if channels == 1 else 4])
    there = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    stored, affine = apply_orientation(voxels, there), inv_ornt_aff(there, voxels.shape[:3])
    assert voxel_digest(stored, affine) == voxel_digest(voxels.astype(np.float64), np.eye(4))


@given(st.integers(0, 59))
def test_one_voxel_makes_another_digest(place: int) -> None:
    voxels: Any = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    changed = voxels.copy()
    changed.flat[place] += 1
    assert voxel_digest(changed, np.eye(4)) != voxel_digest(voxels, np.eye(4))


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    voxels = np.zeros((3, 4, 5), np.int16)
    assert voxel_digest(voxels, np.eye(4)) != voxel_digest(voxels.reshape(4, 3, 5), np.eye(4))
