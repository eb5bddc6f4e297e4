"""A case on the disk: found again by its voxels alone, trusted only while it is whole."""

from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from data.convert.archive import AFFINE, SHAPE, ct
from fedswin.data.convert.case_files import volume_digest, write_case
from fedswin.data.convert.source import Volume

VOLUME = Volume(ct(), AFFINE)
LABEL = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint16)


def test_what_is_read_back_is_what_was_written(tmp_path):
    case = write_case(tmp_path, "NRRD", VOLUME._replace(notes=("a note",)), LABEL)
    image = nib.load(tmp_path / case.image)
    assert np.array_equal(np.asanyarray(image.dataobj), VOLUME.voxels)
    assert np.abs(image.affine - AFFINE).max() < 1e-3
    assert (image.get_data_dtype(), image.header.get_xyzt_units()[0]) == (np.int16, "mm")
    assert case.label
    assert np.array_equal(np.asanyarray(nib.load(tmp_path / case.label).dataobj), LABEL)
    assert (case.form, case.shape, case.spacing, case.notes) == ("NRRD", SHAPE, (0.8, 0.9, 2.5), ("a note",))


def test_the_gzip_header_tells_neither_name_nor_time(tmp_path):
    content = (tmp_path / write_case(tmp_path, "NRRD", VOLUME, None).image).read_bytes()
    flags, mtime = content[3], content[4:8]
    assert (flags, mtime) == (0, bytes(4))
    assert gzip.decompress(content)[344:348] == b"n+1\0"


def test_the_same_voxels_are_written_once_whatever_held_them(tmp_path):
    first = write_case(tmp_path, "NRRD", VOLUME, LABEL)
    again = write_case(tmp_path, "MetaImage", Volume(VOLUME.voxels.copy(order="F"), AFFINE + 1e-5), LABEL.copy())
    assert json.dumps(again.files) == json.dumps(first.files)
    assert write_case(tmp_path, "NRRD", VOLUME, None).name != first.name
    assert write_case(tmp_path, "NRRD", VOLUME, LABEL + 1).name != first.name


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_case_whose_files_are_not_whole_is_written_again(tmp_path, damage):
    first = write_case(tmp_path, "NRRD", VOLUME, LABEL)
    damage(tmp_path / first.label)
    second = write_case(tmp_path, "NRRD", VOLUME, LABEL)
    assert second.name != first.name
    assert np.array_equal(np.asanyarray(nib.load(tmp_path / second.label).dataobj), LABEL)


def test_the_digest_is_that_of_voxels_type_and_place():
    moved = AFFINE.copy()
    moved[0, 3] += 0.01
    others = [
        Volume(ct(1), AFFINE),
        Volume(ct().astype(np.float32), AFFINE),
        Volume(ct().reshape(SHAPE[::-1]), AFFINE),
        Volume(ct(), moved),
    ]
    assert len({volume_digest(volume) for volume in [VOLUME, *others]}) == 5
    assert volume_digest(Volume(ct(), AFFINE * [1, 1, 1, 1 + 1e-9])) == volume_digest(VOLUME)
