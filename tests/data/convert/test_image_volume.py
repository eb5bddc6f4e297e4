"""NIfTI, NRRD and MetaImage: the same voxels from each, and no memory on a header's word."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.convert.archive import AFFINE, SHAPE, ct, save
from fedswin.data.convert.image_volume import read_file, read_label
from fedswin.data.convert.source import ConversionRefusedError, Volume

FORMS = ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd"]


def refusal(path: Path) -> str:
    with pytest.raises(ConversionRefusedError) as caught:
        read_file(path)
    assert path.parent.name not in str(caught.value)
    return caught.value.reason


def replace(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


def raw_nrrd(path: Path, voxels: np.ndarray, *lines: str, separator: bytes = b"\n") -> Path:
    header = [
        *("NRRD0004", "type: int16", "dimension: 3", f"sizes: {' '.join(map(str, voxels.shape))}", "encoding: raw"),
        *("endian: little", *lines, "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (4,5,6)"),
    ]
    text = separator.join(line.encode() for line in header)
    path.write_bytes(text + 2 * separator + voxels.astype("<i2").T.tobytes())
    return path


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_voxels_at_the_same_places(tmp_path, name):
    volume = read_file(save(tmp_path / name))
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, ct())
    assert np.abs(volume.affine - AFFINE).max() < 1e-3


@pytest.mark.parametrize("name", FORMS)
def test_what_simpleitk_makes_of_a_nifti_is_that_nifti(tmp_path, name):
    original = save(tmp_path / "original.nii.gz")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(original)), str(tmp_path / name))
    expected, volume = read_file(original), read_file(tmp_path / name)
    assert np.array_equal(volume.voxels, expected.voxels)
    assert np.abs(volume.affine - expected.affine).max() < 1e-3


@pytest.mark.parametrize("name", FORMS)
def test_values_that_are_no_whole_numbers_or_too_large_stay_floats(tmp_path, name):
    for voxels in (ct() + np.float32(0.25), ct().astype(np.int32) + 40_000):
        volume = read_file(save(tmp_path / name, voxels))
        assert volume.voxels.dtype == np.float32
        assert np.array_equal(volume.voxels, voxels)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("LAS", (-1, 1, 1)),
    ],
)
def test_the_space_of_an_nrrd_is_heeded(tmp_path, space, signs):
    volume = read_file(raw_nrrd(tmp_path / "scan.nrrd", ct(), f"space: {space}"))
    assert np.allclose(np.diag(volume.affine), np.array([*signs, 1]) * (1, 2, 3, 1))
    assert np.allclose(volume.affine[:3, 3], np.array(signs) * (4, 5, 6))
    assert np.array_equal(volume.voxels, ct())


def test_an_nrrd_without_a_space_is_refused_because_left_might_be_right(tmp_path):
    assert refusal(raw_nrrd(tmp_path / "scan.nrrd", ct())) == "NRRD without orientation"
    assert refusal(raw_nrrd(tmp_path / "scan.nrrd", ct(), "space: scanner-xyz")) == "NRRD without orientation"


def test_lines_may_end_as_on_windows(tmp_path):
    volume = read_file(raw_nrrd(tmp_path / "scan.nrrd", ct(), "space: LPS", separator=b"\r\n"))
    assert np.array_equal(volume.voxels, ct())


def test_a_raw_nrrd_that_claims_gigabytes_is_refused_by_its_size(tmp_path):
    path = raw_nrrd(tmp_path / "scan.nrrd", ct(), "space: LPS")
    assert "its header claims 2000000000000 bytes" in refusal(replace(path, b"13 11 9", b"10000 10000 10000"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scan.nrrd", b"sizes: 13 11 9", b"sizes: 10000 10000 10000"),
        ("scan.nhdr", b"sizes: 13 11 9", b"sizes: 10000 10000 10000"),
        ("scan.mha", b"DimSize = 13 11 9", b"DimSize = 10000 10000 10000"),
        ("scan.mhd", b"DimSize = 13 11 9", b"DimSize = 10000 10000 10000"),
    ],
)
def test_a_small_packed_file_that_claims_terabytes_is_refused(tmp_path, name, old, new):
    assert "its header claims 2000000000000 bytes" in refusal(replace(save(tmp_path / name), old, new))


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_nifti_that_claims_gigabytes_is_refused(tmp_path, name):
    content = bytearray(save(tmp_path / "whole.nii").read_bytes())
    content[42:48] = np.full(3, 10_000, "<i2").tobytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert "its header claims 2000000000352 bytes" in refusal(tmp_path / name)


def test_a_small_header_may_not_point_at_a_tiny_or_foreign_file(tmp_path):
    header = save(tmp_path / "a folder" / "scan.mhd")
    data = next((tmp_path / "a folder").glob("scan.*raw"))
    (tmp_path / "other.raw").write_bytes(data.read_bytes())
    replace(header, data.name.encode(), b"../other.raw")
    assert refusal(header) == "a header whose voxels are not in one file beside it"
    replace(header, b"../other.raw", b"slice%03d.raw 1 9 1")
    assert refusal(header) == "a header whose voxels are not in one file beside it"
    replace(header, b"slice%03d.raw 1 9 1", data.name.encode())
    data.write_bytes(zlib.compress(b"tiny"))
    assert refusal(header) == "truncated or damaged"
    data.write_bytes(b"")
    assert refusal(header) == "its header claims 2574 bytes, but the file can hold 0 at most"


def test_a_header_that_contradicts_itself_is_refused(tmp_path):
    path = raw_nrrd(tmp_path / "scan.nrrd", ct(), "space: LPS", "sizes: 1 1 1")
    assert refusal(path) == "a header that says one thing in two ways"


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.mha"])
def test_four_dimensions_and_several_channels_are_refused(tmp_path, name):
    array = np.stack([ct().T] * 3, axis=-1)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(tmp_path / name))
    assert "3 numbers a voxel" in refusal(tmp_path / name)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=False), str(tmp_path / name))
    assert refusal(tmp_path / name) in ("no 3-D volume: 4-D with 1 numbers a voxel", "NRRD without orientation")


@pytest.mark.parametrize("name", FORMS)
def test_nan_is_refused_everywhere(tmp_path, name):
    voxels = ct().astype(np.float32)
    voxels[1, 2, 3] = np.nan
    assert refusal(save(tmp_path / name, voxels)) == "1 of 1287 voxels are NaN or infinite"


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha"]), packed=st.booleans(), data=st.data())
def test_a_truncated_file_is_refused_unless_all_voxels_are_there(tmp_path, name, packed, data):
    path = save(tmp_path / name, packed=packed)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        volume = read_file(path)
    except ConversionRefusedError:
        return
    assert np.array_equal(volume.voxels, ct())  # what was lost was the checksum at the end of a packed file


@pytest.mark.parametrize("name", FORMS)
def test_a_label_map_keeps_its_values_in_few_bits(tmp_path, name):
    values = np.random.default_rng(0).integers(0, 118, SHAPE)
    image = Volume(ct(), AFFINE)
    for stored, dtype in ((values.astype(np.float32), np.uint8), (values.astype(np.int16) * 9 - 1, np.int16)):
        label = read_label(save(tmp_path / name, stored), image)
        assert label.dtype == dtype
        assert np.array_equal(label, stored)


def test_a_label_map_off_its_image_or_of_fractions_is_refused(tmp_path):
    zeros, moved = np.zeros(SHAPE, np.uint8), AFFINE.copy()
    moved[0, 3] += 1
    image = Volume(ct(), AFFINE)
    for voxels, affine, words in (
        (zeros, moved, "1 mm off its image"),
        (zeros[1:], AFFINE, r"has shape \(12, 11, 9\)"),
        (zeros + np.float32(0.5), AFFINE, "no whole numbers"),
    ):
        with pytest.raises(ConversionRefusedError, match=words):
            read_label(save(tmp_path / "label.nii.gz", voxels, affine), image)
