"""Which files are volumes, which are their label maps, and why the others are neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.convert.archive import save
from fedswin.data.convert.image_files import find_files


def found(root: Path):
    """What there is below ``root``, by names alone."""
    sources, left_out = find_files(sorted(path for path in root.rglob("*") if path.is_file()))
    volumes = {
        source.files[0].relative_to(root).as_posix(): source.label.relative_to(root).as_posix()
        if source.label
        else None
        for source in sources
    }
    reasons = {path.relative_to(root).as_posix(): item.reason for item in left_out for path in item.files}
    return volumes, reasons


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_label_beside_a_ct_is_its_label_map(tmp_path):
    touch(tmp_path, "p1/ct.nii.gz", "p1/label.nii", "p2/CT.NII", "p2/Label.nii.gz", "p3/ct.nii.gz", "p4/other.nii")
    assert found(tmp_path) == (
        {"p1/ct.nii.gz": "p1/label.nii", "p2/CT.NII": "p2/Label.nii.gz", "p3/ct.nii.gz": None, "p4/other.nii": None},
        {},
    )


@pytest.mark.parametrize("split", ["", "Tr", "Ts"])
def test_the_decathlon_pairs_by_equal_names(tmp_path, split):
    images, labels = f"images{split}", f"labels{split}"
    touch(tmp_path, f"{images}/a.nii.gz", f"{labels}/a.nii.gz", f"{images}/b.nii.gz", f"{labels}/c.nii.gz")
    volumes, reasons = found(tmp_path)
    assert volumes == {f"{images}/a.nii.gz": f"{labels}/a.nii.gz", f"{images}/b.nii.gz": None}
    assert reasons == {f"{labels}/c.nii.gz": "a label map without its image"}


def test_a_lone_label_map_is_no_image(tmp_path):
    touch(tmp_path, "p1/label.nii.gz")
    assert found(tmp_path) == ({}, {"p1/label.nii.gz": "a label map without its image"})


def test_patients_are_folders_and_in_the_decathlon_files(tmp_path):
    touch(tmp_path, "p1/early.nii", "p1/late.nii", "p2/early.nii", "imagesTr/a.nii", "imagesTr/b.nii")
    sources, _ = find_files(sorted(tmp_path.rglob("*.nii")))
    patients = {source.files[0].relative_to(tmp_path).as_posix(): source.patient for source in sources}
    assert patients["p1/early.nii"] == patients["p1/late.nii"]
    assert len(set(patients.values())) == 4


def test_the_voxels_of_a_detached_header_belong_to_it(tmp_path):
    save(tmp_path / "scan.mhd")
    save(tmp_path / "scan.nhdr")
    sources, left_out = find_files(sorted(tmp_path.iterdir()))
    assert [len(source.files) for source in sources] == [2, 2]
    assert left_out == []


def test_archives_and_foreign_files_are_named(tmp_path):
    touch(tmp_path, "scans.zip", "more.tar.gz", "readme.txt", "thumbs.db")
    sources, left_out = find_files(sorted(tmp_path.iterdir()))
    assert sources == []
    assert sorted((item.reason, item.fix, len(item.files)) for item in left_out) == [
        ("an archive", "Unpack it.", 1),
        ("an archive", "Unpack it.", 1),
        ("no image of a known form", "", 2),
    ]
