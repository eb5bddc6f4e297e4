"""The files of the phantom hospitals: readable, different from site to site, the same for the same seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from fedswin.data.datalist import SPLITS, read_site
from fedswin.data.phantom import BTCV_ORGANS, write, write_phantoms
from fedswin.data.phantom.grid import as_nifti
from fedswin.data.phantom.hospitals import draw_hospitals, share_out
from fedswin.errors import FedSwinError

COARSE = 6.0


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def images(folder: Path) -> list[nib.Nifti1Image]:
    return [nib.load(path) for path in sorted(folder.glob("images/*.nii.gz"))]


def test_btcv_numbers_its_organs_1_to_13():
    assert sorted(BTCV_ORGANS.values()) == list(range(1, 14))
    assert (BTCV_ORGANS["spleen"], BTCV_ORGANS["liver"], BTCV_ORGANS["left_adrenal_gland"]) == (1, 6, 13)


def test_hospitals_have_names_different_sizes_and_every_split(hospitals):
    assert [folder.name for folder in hospitals] == ["hospital_a", "hospital_b", "hospital_c"]
    sizes = []
    for folder in hospitals:
        site = read_site(folder)
        assert len(site.cases("validation")) == len(site.cases("test")) == 1
        sizes.append(sum(len(site.cases(split)) for split in SPLITS))
        assert sizes[-1] == len(images(folder))
    assert sum(sizes) == 18
    assert len(set(sizes)) == 3


def test_labels_are_there_for_all_held_out_cases_and_a_share_of_training(hospitals):
    shares = []
    for folder in hospitals:
        site = read_site(folder)
        for split in ("validation", "test"):
            assert site.cases(split, labelled=True) == site.cases(split)
        labelled = site.cases("training", labelled=True)
        assert len(labelled) >= 2
        shares.append(len(labelled) / len(site.cases("training")))
        listed = {case.label for split in SPLITS for case in site.cases(split, labelled=True)}
        assert listed == {path.absolute() for path in folder.glob("labels/*")}
    assert shares[0] == 1
    assert min(shares) <= 0.5


def test_no_two_cases_share_a_pseudonym(hospitals):
    cases = [case for folder in hospitals for split in SPLITS for case in read_site(folder).cases(split)]
    assert len({case.patient for case in cases}) == len(cases)
    assert not any("/" in case.patient for case in cases)


def test_monai_reads_the_datalist(hospitals):
    for folder in hospitals:
        site = read_site(folder)
        for split in ("training", "validation", "test"):
            read = load_decathlon_datalist(str(folder / "datalist.json"), True, split, str(folder))
            assert [Path(entry["image"]) for entry in read] == [case.image for case in site.cases(split)]
            assert [entry.get("label") for entry in read] == [
                str(case.label) if case.label else None for case in site.cases(split)
            ]


def test_hospitals_store_differently_and_every_affine_is_truthful(hospitals):
    codes, sizes = set(), set()
    for folder in hospitals:
        of_site = {nib.aff2axcodes(image.affine) for image in images(folder)}
        assert len(of_site) == 1
        codes |= of_site
        for image in images(folder):
            assert image.get_data_dtype() == np.int16
            assert image.header["qform_code"] == image.header["sform_code"] == 1
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
            zooms = nib.as_closest_canonical(image).header.get_zooms()
            assert all(2.8 <= zoom <= 5.6 for zoom in zooms)
            sizes.add(tuple(round(float(zoom), 3) for zoom in zooms))
    assert len(codes) == len(sizes) == len(hospitals)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL", "IRP"])
def test_a_voxel_keeps_its_place_in_the_world_in_any_orientation(orientation):
    volume = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    affine[:3, 3] = (-7, 11, 13)
    image = as_nifti(volume, affine, orientation)
    assert "".join(nib.aff2axcodes(image.affine)) == orientation
    stored = np.asarray(image.dataobj)
    for voxel in np.ndindex(*volume.shape):
        world = affine[:3, :3] @ voxel + affine[:3, 3]
        there = np.linalg.solve(image.affine, [*world, 1])[:3].round().astype(int)
        assert stored[tuple(there)] == volume[voxel]


def test_air_outside_the_field_of_view_differs(hospitals):
    lowest = [min(int(np.asarray(image.dataobj).min()) for image in images(folder)) for folder in hospitals]
    assert lowest[1] == -3024
    assert lowest[0] >= -1024
    assert lowest[2] >= -1024


def test_a_tight_field_of_view_cuts_the_body_and_a_wide_one_does_not(hospitals):
    def body_at_the_edge(folder: Path) -> bool:
        volumes = [np.asarray(nib.as_closest_canonical(image).dataobj) for image in images(folder)]
        # The back third is left out: the table may run through the edge there.
        return any((volume[0, volume.shape[1] // 3 :] > -300).any() for volume in volumes)

    assert [body_at_the_edge(folder) for folder in hospitals] == [False, False, True]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        write_phantoms(tmp_path / name, sites=2, volumes=3, seed=seed, spacing=COARSE)
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    # The gzip header would hold the time of writing; runs within a second would not tell.
    assert {path.read_bytes()[4:8] for path in tmp_path.rglob("*.nii.gz")} == {bytes(4)}
    assert one.keys() >= {"hospital_a/datalist.json", "hospital_b/images/case03.nii.gz"}
    assert all(one[path] != other[path] for path in one.keys() & other.keys() if "images" in path)


def test_no_two_cases_are_the_same_patient(hospitals):
    assert len({image.affine.tobytes() for folder in hospitals for image in images(folder)}) == 18
    voxels = [np.asarray(image.dataobj).tobytes() for image in images(hospitals[0])]
    assert len(set(voxels)) == len(voxels)


def test_progress_is_told_once_a_volume(tmp_path):
    told: list[str] = []
    write_phantoms(tmp_path / "out", sites=1, volumes=3, spacing=COARSE, progress=told.append)
    assert told == [f"hospital_a: case {number} of 3" for number in (1, 2, 3)]


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FedSwinError, match="exists"):
        write_phantoms(tmp_path / "out")
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


@pytest.mark.parametrize("wrong", [{"sites": 0}, {"sites": 27}, {"volumes": 2}, {"seed": -1}, {"spacing": 9.0}])
def test_a_number_out_of_range_is_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(FedSwinError, match=next(iter(wrong))):
        write_phantoms(tmp_path / "out", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_it_fails_half_way(tmp_path, monkeypatch):
    scan, calls = write.scan, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError("disk full")
        return scan(*arguments)

    monkeypatch.setattr(write, "scan", failing)
    with pytest.raises(OSError, match="disk full"):
        write_phantoms(tmp_path / "out", sites=1, volumes=3, spacing=COARSE)
    assert list(tmp_path.iterdir()) == []


def test_further_hospitals_are_drawn_from_the_seed_and_no_two_store_alike():
    drawn = draw_hospitals(26, np.random.default_rng(1))
    assert drawn[-1].name == "hospital_z"
    assert len({hospital.orientation for hospital in drawn}) == 26
    assert drawn[:3] == draw_hospitals(3, np.random.default_rng(2))
    assert drawn[3:] != draw_hospitals(26, np.random.default_rng(2))[3:]


@pytest.mark.parametrize("volumes", [3, 4, 7, 20])
def test_cases_are_shared_out_to_the_mean_with_at_least_three_each(volumes):
    shares = [1.0, 1.6, 0.4, 0.7]
    counts = share_out(shares, volumes)
    assert sum(counts) == 4 * volumes
    assert min(counts) >= 3
    assert [counts[i] for i in np.argsort(shares)] == sorted(counts)
