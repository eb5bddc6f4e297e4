"""Each fault of a NIfTI file is named, and Hounsfield units are told from what only looks like them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from data.volumes import write_image
from fedswin.data.volume import (
    Grid,
    VolumeError,
    hu_problem,
    read_grid,
    read_volume,
    read_voxels,
    require_label_values,
    require_same_grid,
)

Voxels = NDArray[Any]
SPACING = np.diag([0.8, 0.8, 2.5, 1.0])


def noise(seed: int = 0) -> Voxels:
    return np.random.default_rng(seed).integers(-1000, 1000, (8, 9, 10)).astype(np.int16)


def save(path: Path, voxels: Voxels | None = None, affine: Voxels = SPACING) -> Path:
    nib.save(nib.Nifti1Image(noise() if voxels is None else voxels, affine), path)
    return path


def patch(path: Path, offset: int, *values: float, dtype: str = "<f4") -> Path:
    """Write ``values`` over the header of an uncompressed file, as nibabel itself would not."""
    content = bytearray(path.read_bytes())
    new = np.array(values, dtype).tobytes()
    content[offset : offset + len(new)] = new
    path.write_bytes(content)
    return path


def refusal(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(VolumeError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {caught.value.problem}. {caught.value.fix}"
    return caught.value.problem


@pytest.mark.parametrize("name", ["a b.nii", "a b.nii.gz", "UPPER.NII.GZ"])
def test_a_sound_file_is_read_as_stored(tmp_path: Path, name: str) -> None:
    voxels = read_voxels(save(tmp_path / name))
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(voxels, noise())
    assert read_volume(tmp_path / name).shape == (8, 9, 10)


def test_the_header_s_scaling_is_applied(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "scaled.nii"), 112, 2, -1024)  # scl_slope, scl_inter
    np.testing.assert_array_equal(read_voxels(path), noise() * 2.0 - 1024)


def test_nifti_2_is_nifti(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(noise(), SPACING), tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(read_voxels(tmp_path / "two.nii.gz"), noise())


def test_a_missing_or_foreign_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(read_volume, tmp_path / "gone.nii.gz")
    (tmp_path / "scan.nrrd").touch()
    assert "not named .nii" in refusal(read_volume, tmp_path / "scan.nrrd")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("content", [b"", b"not an image", b"\x00" * 400])
def test_a_file_that_is_not_nifti(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" and len(content) > 12 else content)
    assert "cannot be read as NIfTI" in refusal(read_volume, path)


@pytest.mark.parametrize("lost", [6, 100, 1000])
def test_a_truncated_gzip(tmp_path: Path, lost: int) -> None:
    path = save(tmp_path / "cut.nii.gz")
    path.write_bytes(path.read_bytes()[:-lost])
    assert "cannot be read as NIfTI" in refusal(read_voxels, path)


def test_a_damaged_gzip_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "flip.nii.gz"
    plain = save(tmp_path / "flip.nii").read_bytes()
    content = bytearray(gzip.compress(plain, compresslevel=0))
    content[-500] ^= 0xFF
    path.write_bytes(content)
    assert "CRC" in refusal(read_voxels, path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_fewer_voxels_than_the_header_says(tmp_path: Path, suffix: str) -> None:
    plain = save(tmp_path / "whole.nii").read_bytes()[:-100]
    path = tmp_path / f"short{suffix}"
    path.write_bytes(gzip.compress(plain) if suffix == ".nii.gz" else plain)
    told = "claims 1792 bytes, but the file can hold 1692" if suffix == ".nii" else "Expected 1440 bytes, got 1340"
    assert told in refusal(read_voxels, path)


@pytest.mark.parametrize(("size", "words"), [(32767, "claims 70362301923678 bytes"), (-3, "impossible shape")])
def test_an_impossible_shape(tmp_path: Path, size: int, words: str) -> None:
    plain = patch(save(tmp_path / "scan.nii"), 42, size, size, size, dtype="<i2")  # dim
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert words in refusal(read_voxels, plain)
    assert words in refusal(read_voxels, tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 8, 1), (8, 8, 8, 3), (4, 4, 4, 1, 3)])
def test_only_3d(tmp_path: Path, shape: tuple[int, ...]) -> None:
    problem = refusal(read_volume, save(tmp_path / "scan.nii.gz", np.zeros(shape, np.int16)))
    assert problem == f"is {len(shape)}-D, of shape {shape}"


def test_colours_are_no_hounsfield_units(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "not numbers" in refusal(read_volume, save(tmp_path / "rgb.nii.gz", rgb))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_must_be_finite(tmp_path: Path, value: float) -> None:
    voxels = noise().astype(np.float32)
    voxels[1, 2, 3] = value
    path = save(tmp_path / "scan.nii.gz", voxels)
    assert refusal(read_voxels, path) == "1 of 720 voxels are NaN or infinite"


def test_a_flat_or_singular_grid(tmp_path: Path) -> None:
    flat = patch(save(tmp_path / "flat.nii"), 312, 0, 0, 0, 0)  # srow_z
    assert refusal(read_volume, flat) == "its spacing is [0.8, 0.8, 0.0] mm"
    undefined = patch(save(tmp_path / "undefined.nii"), 280, np.nan)  # srow_x
    assert "spacing is [nan, " in refusal(read_volume, undefined)
    parallel = patch(save(tmp_path / "parallel.nii"), 280, 1, 1, 0, 0, 1, 1, 0, 0)  # srow_x, srow_y
    assert "singular" in refusal(read_volume, parallel)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL", "ILA"])
def test_a_grid_is_along_r_a_and_s_however_the_axes_are_stored(tmp_path: Path, axes: str) -> None:
    grid = read_grid(write_image(tmp_path / "scan.nii", (0.5, 2.0, 4.0), axes))
    assert grid == Grid((3, 4, 5), (0.5, 2.0, 4.0))
    assert {type(size) for size in grid.shape} == {int}


def test_a_plane_is_one_voxel_deep(tmp_path: Path) -> None:
    plane = save(tmp_path / "plane.nii", np.zeros((6, 7), np.int16), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert read_grid(plane) == Grid((6, 7, 1), (1.0, 2.0, 3.0))


def test_a_label_must_lie_on_its_image(tmp_path: Path) -> None:
    image = read_volume(save(tmp_path / "image.nii.gz"))
    path = tmp_path / "label.nii.gz"

    def against_image(affine: Voxels, shape: tuple[int, ...] = (8, 9, 10)) -> None:
        require_same_grid(path, image, read_volume(save(path, np.zeros(shape, np.uint8), affine)))

    moved, stretched = SPACING.copy(), SPACING.copy()
    moved[:3, 3] = 0.005  # 0.0087 mm along the diagonal
    against_image(moved)
    moved[0, 3] = 0.02
    assert "mm off its image" in refusal(lambda _: against_image(moved), path)
    stretched[2, 2] = 2.502  # 0.018 mm at the far end
    assert "0.018 mm off" in refusal(lambda _: against_image(stretched), path)
    assert "(8, 9, 9)" in refusal(lambda _: against_image(SPACING, (8, 9, 9)), path)


def test_label_values(tmp_path: Path) -> None:
    path = tmp_path / "label.nii.gz"
    require_label_values(path, np.array([0.0, 2.0, 117.0]), None)
    require_label_values(path, np.array([0, 2], np.uint8), {0, 1, 2})
    with pytest.raises(VolumeError, match=r"unknown label values: -1, 3. Known are 0, 1, 2"):
        require_label_values(path, np.array([-1, 0, 2, 3]), {2, 1, 0})
    with pytest.raises(VolumeError, match=r"not whole numbers: 0\.5"):
        require_label_values(path, np.array([0, 0.5, 1]), None)
    with pytest.raises(VolumeError, match="values: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 9 more"):
        require_label_values(path, np.arange(20), {0})


def eight_bits(hu: Voxels, low: float, high: float) -> Voxels:
    return np.round(255 * np.clip((hu - low) / (high - low), 0, 1)).astype(np.uint8)


def padded(hu: Voxels, value: float) -> Voxels:
    framed = hu.copy()
    framed[: len(hu) // 2] = value
    return framed


def test_all_real_volumes_are_judged_right(real_ct: Path) -> None:
    paths = sorted(real_ct.glob("*/*/ct.nii.gz"))
    assert len(paths) >= 15
    for path in paths:
        hu = read_voxels(path).astype(np.float32)
        assert [hu_problem(sound) for sound in (hu, padded(hu, -2000), padded(hu, -3024))] == [None] * 3, path
        for offset in (1024, 1000):
            assert "shifted by +1024 does: add -1024" in (hu_problem(hu + offset) or ""), path
        assert "shifted by +1024" in (hu_problem(padded(hu, -3024) + 1024) or ""), path
        assert "add 1024 (shifted by about -1024: rescaled twice?)" in (hu_problem(hu - 1024) or ""), path
        stored = np.clip(hu + 1024, 0, 4095).astype(np.uint16)
        assert "add -1024" in (hu_problem(stored) or ""), path
        for window in ((-1024, 3071), (-160, 240), (hu.min(), hu.max())):
            assert "8 bits" in (hu_problem(eight_bits(hu, *window)) or ""), path
        assert "normalised" in (hu_problem((hu - hu.mean()) / hu.std()) or ""), path


def body(**share: int) -> Voxels:
    """Draw voxels: ``share`` of each tissue, at its HU, with the noise of a CT."""
    at = {
        "air": -1000,
        "lung": -850,
        "fat": -100,
        "muscle": 50,
        "spongy": 250,
        "cement": 1050,
        "cortical": 1300,
    }
    rng = np.random.default_rng(1)
    parts = [rng.normal(at[tissue], 300 if tissue == "cortical" else 20, 100 * n) for tissue, n in share.items()]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "hu",
    [
        body(fat=30, muscle=60, spongy=10),
        body(muscle=100),
        body(fat=10, muscle=50, spongy=20, cortical=20),
        body(fat=10, muscle=60, cement=30),
        body(lung=90, muscle=10),
        body(air=90, fat=3, muscle=6, cortical=1),
        np.array([-1000.0, -100.0, 50.0, 400.0]),
    ],
    ids=[
        "no air",
        "one organ",
        "dense bone",
        "cement",
        "lung",
        "small in a large field",
        "a phantom without noise",
    ],
)
def test_unusual_but_sound_images_pass(hu: Voxels) -> None:
    assert hu_problem(hu) is None
    assert hu_problem(np.concatenate([hu, np.full(len(hu), -2000.0)])) is None


def test_a_small_body_in_a_large_field_of_stored_values_is_known_by_its_want_of_anything_below_0() -> None:
    hu = body(air=90, fat=3, muscle=6, cortical=1)
    stored = np.clip(hu + 1024, 0, 4095)
    assert _share_of(stored, 800, 1250) < 0.15  # no peak of soft tissue, and air where soft tissue should be
    problem = hu_problem(stored) or ""
    assert problem.startswith("all voxels lie within 0..")
    assert "none below 0" in problem
    assert "add -1024" in problem


def _share_of(voxels: Voxels, low: float, high: float) -> float:
    return float(np.mean((voxels >= low) & (voxels <= high)))


def test_what_is_no_ct_is_named() -> None:
    assert "one value only" in (hu_problem(np.full((4, 4, 4), -1000)) or "")
    assert "one value only" in (hu_problem(np.empty(0)) or "")
    magnetic_resonance = np.random.default_rng(0).gamma(9, 60, 10_000)
    assert "of the voxels lie within -200..200" in (hu_problem(magnetic_resonance) or "")
