"""The voxels and the affine of a series, against closed forms and a published NIfTI."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest

from data.convert.dicom_builder import AXES, SHAPE, SPACING, compress, linear_hu, positions, write_series
from fedswin.data.convert.dicom_series import find_series
from fedswin.data.convert.dicom_volume import read_series
from fedswin.data.convert.source import ConversionRefusedError, Volume
from fedswin.data.convert.stack import LPS_TO_RAS


def read(folder, *, resample=False) -> Volume:
    [source], _ = find_series([path for path in sorted(folder.rglob("*")) if path.is_file()])
    return read_series(source, resample=resample)


def world(volume: Volume) -> np.ndarray:
    """The position of each voxel in mm, LPS."""
    indices = np.stack(np.meshgrid(*map(np.arange, volume.voxels.shape), indexing="ij"), axis=-1)
    return nib.affines.apply_affine(LPS_TO_RAS @ volume.affine, indices)


def rotated(degrees: float) -> np.ndarray:
    """The axes of slices that are turned about the first axis."""
    angle = np.radians(degrees)
    return np.array([[1.0, 0, 0], [0, np.cos(angle), -np.sin(angle)]])


@pytest.mark.parametrize(
    "axes", [AXES, rotated(30.0), AXES[::-1] * [[1.0], [-1.0]]], ids=["axial", "oblique", "turned"]
)
def test_every_voxel_is_the_hu_at_its_place(tmp_path, axes):
    normal = np.cross(*axes)
    write_series(tmp_path, [np.array([5.0, -7.0, 3.0]) + 2.0 * k * normal for k in range(6)], axes=axes)
    volume = read(tmp_path)
    assert (volume.voxels.shape, volume.voxels.dtype) == ((*SHAPE, 6), np.int16)
    assert np.abs(volume.voxels - linear_hu(world(volume))).max() <= 0.5 + 1e-3
    assert np.allclose(nib.affines.voxel_sizes(volume.affine), (*SPACING, 2.0))
    assert volume.notes == ()


def test_each_slice_is_rescaled_by_its_own_numbers(tmp_path):
    def rescale(header, number):
        header.RescaleSlope, header.RescaleIntercept = 1 + number % 3, -1000 - 10 * number

    write_series(tmp_path, change=rescale)
    volume = read(tmp_path)
    assert np.abs(volume.voxels - linear_hu(world(volume))).max() <= 1.5 + 1e-3


def test_hu_that_are_no_whole_numbers_stay_so(tmp_path):
    write_series(tmp_path, slope=0.25, intercept=0.0)
    volume = read(tmp_path)
    assert volume.voxels.dtype == np.float32
    assert np.abs(volume.voxels - linear_hu(world(volume))).max() <= 0.125 + 1e-3


@pytest.mark.parametrize("compressor", ["RLE", "JPEG", "JPEGLS", "JPEG2000"])
def test_compressed_pixels_are_the_same_pixels(tmp_path, compressor):
    plain = write_series(tmp_path / "plain")
    shutil.copytree(tmp_path / "plain", tmp_path / "packed")
    for path in (tmp_path / "packed").iterdir():
        compress(path, compressor)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_compressed
    expected, found = read(tmp_path / "plain"), read(tmp_path / "packed")
    assert len(plain) == found.voxels.shape[2]
    assert np.array_equal(found.voxels, expected.voxels)
    assert np.array_equal(found.affine, expected.affine)


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([(0.0, np.tan(np.radians(18.5)) * 2 * k, 2.0 * k) for k in range(8)], "a gantry tilted by 18.5 degrees"),
        ([(0.0, 0.0, z) for z in (0, 4, 8, 12, 19, 26)], "steps between slices from 4.00 to 7.00 mm"),
    ],
    ids=["tilted", "uneven"],
)
def test_an_irregular_stack_is_refused_with_its_numbers_or_resampled(tmp_path, places, told):
    write_series(tmp_path, places)
    with pytest.raises(ConversionRefusedError, match=f"{told}. Add --resample"):
        read(tmp_path)
    volume = read(tmp_path, resample=True)
    spacing = nib.affines.voxel_sizes(volume.affine)
    assert np.allclose(spacing, (*SPACING, np.diff([place[2] for place in places]).min()))
    # Voxels between the slices' own pixels: elsewhere there is nothing that they could be.
    where = world(volume)
    shift = np.array([np.interp(where[..., 2], [p[2] for p in places], [p[axis] for p in places]) for axis in (0, 1)])
    inside = np.ones(where.shape[:3], bool)
    for axis, (size, step) in enumerate(zip(SHAPE, SPACING, strict=True)):
        low = np.maximum(shift[axis], 0) + step
        high = np.minimum(shift[axis], 0) + step * (size - 2)
        inside &= (where[..., axis] >= low) & (where[..., axis] <= high + shift[axis] - np.minimum(shift[axis], 0))
    assert inside.sum() > 100
    assert np.abs(volume.voxels - linear_hu(where))[inside].max() <= 1.0 + 1e-3
    assert volume.notes[0].startswith("resampled: ")


def test_a_small_error_in_the_headers_is_no_irregular_stack(tmp_path):
    rng = np.random.default_rng(0)
    write_series(tmp_path, [(0.0, 0.0, 2.0 * k + rng.uniform(-0.01, 0.01)) for k in range(30)])
    assert read(tmp_path).voxels.shape == (*SHAPE, 30)


def test_positions_of_pixels_are_as_dicom_has_them():
    """C.7.6.2.1.1: a row's cosines go with the column index."""
    assert np.allclose(positions(np.zeros(3))[3, 2], [3 * SPACING[0], 2 * SPACING[1], 0])


def test_a_published_series_gives_the_published_nifti(real_ct):
    """sts_019 was converted by its publishers; the other series is known for its tilt and changing steps."""
    expected = nib.load(real_ct / "sarcoma" / "STS_019" / "ct.nii.gz")
    found = read(real_ct / "dicom" / "sts_019")
    assert np.array_equal(found.voxels, np.asarray(expected.dataobj))
    assert np.abs(found.affine - expected.affine).max() < 1e-3


def test_a_tilted_head_is_refused_and_stands_upright_when_resampled(real_ct):
    folder = real_ct / "dicom" / "ge_head_variable_tilt"
    with pytest.raises(
        ConversionRefusedError, match="tilted by 18.5 degrees and steps between slices from 1.08 to 7.00"
    ):
        read(folder)
    volume = read(folder, resample=True)
    assert abs(np.linalg.det(volume.affine[:3, :3] / nib.affines.voxel_sizes(volume.affine))) == pytest.approx(1)
    back = volume.voxels > 300  # the skull at the back of the head, which a tilt would have slanted
    heights = [np.flatnonzero(back[volume.voxels.shape[0] // 2, :, z])[-1] for z in (10, 25, 40)]
    assert np.ptp(heights) * nib.affines.voxel_sizes(volume.affine)[1] < 10
