"""The label maps that ship, against TotalSegmentator's own names and a real scan that it segmented."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from nibabel.affines import apply_affine
from nibabel.nifti1 import Nifti1Image

from fedswin.config import SegmentationSettings, parse_job
from fedswin.data.annotation import Annotation
from fedswin.data.check import Demands, check_site
from fedswin.data.datalist import Case, read_site, write_datalist
from fedswin.data.label_maps import BACKGROUND, LABEL_MAPS, PAIRS
from fedswin.data.loading import Volumes
from fedswin.data.phantom.tissue import BTCV_ORGANS

NAME = "totalsegmentator_v2"
BTCV = SegmentationSettings(classes=dict(BTCV_ORGANS))
OTHER_NAMES = {  # TotalSegmentator's names of the organs that BTCV calls otherwise
    "kidney_right": "right_kidney",
    "kidney_left": "left_kidney",
    "adrenal_gland_right": "right_adrenal_gland",
    "adrenal_gland_left": "left_adrenal_gland",
    "portal_vein_and_splenic_vein": "portal_and_splenic_veins",
}


@pytest.fixture(scope="module")
def example(real_ct: Path) -> Path:
    return real_ct / "organs" / "totalseg_example"


@pytest.fixture(scope="module")
def label(example: Path) -> Nifti1Image:
    return nib.load(example / "label.nii.gz")


@pytest.fixture(scope="module")
def organs(label: Nifti1Image) -> dict[str, np.ndarray]:
    """The voxels of each organ of BTCV as points in mm, RAS."""
    indices = Annotation(label_map=NAME).class_indices(BTCV)
    mapped = np.vectorize(indices.__getitem__)(np.asarray(label.dataobj))
    names = dict(enumerate(BTCV_ORGANS, start=1))
    return {names[i]: apply_affine(label.affine, np.argwhere(mapped == i)) for i in np.unique(mapped) if i}


def test_it_names_the_organs_as_the_phantoms_and_the_demo_do() -> None:
    for label_map in LABEL_MAPS.values():
        assert set(label_map.values()) == {BACKGROUND, *BTCV_ORGANS}
    assert PAIRS.keys() < BTCV_ORGANS.keys()


def test_its_numbers_are_those_that_totalsegmentator_writes_into_its_files(label: Nifti1Image) -> None:
    header = label.header.extensions[0].get_content().decode()
    written = {int(v): name for v, name in re.findall(r'Key="(\d+)"[^>]*><!\[CDATA\[(\w+)\]\]', header)}
    assert LABEL_MAPS[NAME].keys() - {0} == written.keys()
    for value, name in written.items():
        name = OTHER_NAMES.get(name, name)
        assert LABEL_MAPS[NAME][value] == (name if name in BTCV_ORGANS else BACKGROUND)


def test_organs_lie_where_they_should(organs: dict[str, np.ndarray]) -> None:
    right, front, up = ({name: points[:, axis].mean() for name, points in organs.items()} for axis in range(3))
    assert right["liver"] > right["spleen"] + 100
    assert right["right_kidney"] > right["inferior_vena_cava"] > right["aorta"] > right["left_kidney"]
    assert right["right_adrenal_gland"] > right["left_adrenal_gland"]
    assert front["stomach"] > front["pancreas"] > front["aorta"]
    assert up["right_adrenal_gland"] > up["right_kidney"]
    assert up["left_adrenal_gland"] > up["left_kidney"]


def test_whole_organs_have_the_volume_of_an_adult_s(organs: dict[str, np.ndarray]) -> None:
    """The scan holds these organs whole; liver and spleen are cut off at its upper end."""
    litres = {name: len(points) * 27e-6 for name, points in organs.items()}  # voxels of 3 mm
    assert 0.1 < litres["right_kidney"] < 0.3
    assert 0.1 < litres["left_kidney"] < 0.3
    assert 0.01 < litres["gallbladder"] < 0.1
    assert 0.8 < litres["liver"] < 2.5
    assert 0.001 < litres["right_adrenal_gland"] < 0.01
    assert 0.001 < litres["left_adrenal_gland"] < 0.01


def test_a_site_that_names_it_is_sound_and_is_read_as_a_job_of_other_numbers(example: Path, tmp_path: Path) -> None:
    """The demo's job has four classes, one of them both kidneys."""
    demo = Path(__file__).parents[2] / "jobs" / "demo" / "finetune.yaml"
    job = parse_job(yaml.safe_load(demo.read_text()) | {"data": {"roi": [64, 64, 64]}}, "demo")
    case = Case(example / "ct.nii.gz", example / "label.nii.gz", "p")
    write_datalist(tmp_path, {"training": [case]}, label_map=NAME)
    site = read_site(tmp_path)
    assert check_site(site, Demands.of(job)).findings == []
    found = Volumes(site.cases("training"), job)[0].label().unique(return_counts=True)
    voxels = np.asarray(nib.load(example / "label.nii.gz").dataobj)
    expected = [np.isin(voxels, values).sum() for values in ([5], [1], [2, 3], [6])]
    assert found[0].tolist() == [0, 1, 2, 3, 4]
    assert found[1].tolist()[1:] == expected
