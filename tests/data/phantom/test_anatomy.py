"""Would a radiologist recognise it: sizes, sides, neighbours and densities, read back from the files."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.ndimage import label as components
from scipy.spatial import cKDTree

from fedswin.data.phantom import BTCV_ORGANS
from fedswin.data.phantom.anatomy import draw_patient
from fedswin.data.phantom.grid import grid_over
from fedswin.data.phantom.render import draw_anatomy
from fedswin.data.phantom.tissue import hounsfield

# Adult volumes in ml. Means of 149 CT (Abdominal Imaging 29:482-490, 2004, women - men): liver
# 1411 - 1710, spleen 180 - 238, one kidney 157 - 193, pancreas 64 - 87, adrenal gland 4.4 and more.
# Ranges: spleen 107 - 315 (Prassopoulos, Eur Radiol 1997), pancreas 35 - 106 (PLoS ONE 8:e55991),
# widened to what radiologists still call normal; the gallbladder is that of a fasting adult.
MILLILITRES = {
    "liver": (1000, 2300),
    "spleen": (80, 400),
    "right_kidney": (90, 260),
    "left_kidney": (90, 260),
    "pancreas": (30, 150),
    "gallbladder": (15, 80),
    "right_adrenal_gland": (1.5, 9),
    "left_adrenal_gland": (1.5, 9),
    "stomach": (100, 700),
    "portal_and_splenic_veins": (12, 70),
}

# Median HU by contrast phase (portal venous, arterial, delayed), as abdominal CT at 120 kV shows them.
HU = {
    "liver": {"portal": (90, 130), "arterial": (55, 85), "delayed": (70, 100)},
    "spleen": {"portal": (105, 150), "arterial": (95, 170), "delayed": (75, 110)},
    "right_kidney": {"portal": (150, 230), "arterial": (100, 220), "delayed": (120, 200)},
    "left_kidney": {"portal": (150, 230), "arterial": (100, 220), "delayed": (120, 200)},
    "aorta": {"portal": (130, 190), "arterial": (250, 400), "delayed": (80, 130)},
    "inferior_vena_cava": {"portal": (110, 170), "arterial": (50, 130), "delayed": (75, 125)},
    "pancreas": {"portal": (70, 115), "arterial": (80, 130), "delayed": (50, 85)},
    "gallbladder": {"portal": (-10, 25), "arterial": (-10, 25), "delayed": (-10, 25)},
}


@pytest.mark.parametrize("organ", MILLILITRES)
def test_volumes_of_files_lie_in_the_adult_range(scans, organ):
    low, high = MILLILITRES[organ]
    assert all(low <= scan.millilitres(organ) <= high for scan in scans)


def test_volumes_of_the_anatomy_lie_in_the_adult_range_without_a_scanner():
    for patient in range(3):
        grid = grid_over((-165, -105, -125), (165, 115, 130), (2.0, 2.0, 2.0))
        drawn = draw_anatomy(draw_patient(np.random.default_rng([7, patient])), grid, hounsfield("portal"))
        volume = np.bincount(drawn.label.ravel(), minlength=14) * 0.008
        for organ, (low, high) in MILLILITRES.items():
            assert low <= volume[BTCV_ORGANS[organ]] <= high, organ


def test_patients_differ(scans):
    for organ in ("liver", "spleen", "left_kidney", "stomach", "pancreas"):
        volumes = [scan.millilitres(organ) for scan in scans]
        assert np.std(volumes) > 0.04 * np.mean(volumes), organ


def test_every_organ_is_in_every_labelled_case_and_no_other_value(scans):
    assert len(scans) == 15
    for scan in scans:
        assert np.unique(scan.label).tolist() == list(range(14))


@pytest.mark.parametrize("organ", sorted(set(BTCV_ORGANS) - {"aorta", "inferior_vena_cava", "esophagus"}))
def test_the_field_of_view_holds_the_whole_organ(scans, organ):
    for scan in scans:
        voxels = np.argwhere(scan.label == BTCV_ORGANS[organ])
        assert voxels.min() > 0
        assert (voxels.max(0) < np.array(scan.label.shape) - 1).all()


@pytest.mark.parametrize("organ", ["liver", "spleen", "left_kidney", "right_kidney", "aorta", "stomach"])
def test_a_large_organ_is_one_piece(scans, organ):
    for scan in scans:
        pieces, _ = components(scan.label == BTCV_ORGANS[organ], np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert sizes.max() > 0.98 * sizes.sum()


RIGHT, FRONT, HEAD = 0, 1, 2
SIDES = [
    ("liver", RIGHT, "spleen", 100),
    ("liver", RIGHT, "stomach", 50),
    ("gallbladder", RIGHT, "pancreas", 20),
    ("right_kidney", RIGHT, "inferior_vena_cava", 20),
    ("inferior_vena_cava", RIGHT, "aorta", 15),
    ("aorta", RIGHT, "left_kidney", 30),
    ("left_kidney", RIGHT, "spleen", 10),
    ("right_adrenal_gland", RIGHT, "left_adrenal_gland", 40),
    ("liver", FRONT, "right_kidney", 20),
    ("stomach", FRONT, "pancreas", 8),
    ("stomach", FRONT, "left_kidney", 40),
    ("gallbladder", FRONT, "right_kidney", 50),
    ("pancreas", FRONT, "aorta", 8),
    ("left_kidney", HEAD, "right_kidney", 0),
    ("spleen", HEAD, "left_kidney", 30),
    ("liver", HEAD, "gallbladder", 10),
    ("right_adrenal_gland", HEAD, "right_kidney", 30),
    ("left_adrenal_gland", HEAD, "left_kidney", 25),
    ("esophagus", HEAD, "stomach", 30),
]


@pytest.mark.parametrize(("one", "axis", "other", "least"), SIDES)
def test_an_organ_lies_on_its_side_of_the_other(scans, one, axis, other, least):
    for scan in scans:
        assert (scan.centre(one) - scan.centre(other))[axis] > least


NEIGHBOURS = [
    ("gallbladder", "liver"),
    ("right_kidney", "liver"),
    ("right_adrenal_gland", "right_kidney"),
    ("left_adrenal_gland", "left_kidney"),
    ("portal_and_splenic_veins", "liver"),
    ("portal_and_splenic_veins", "pancreas"),
    ("inferior_vena_cava", "liver"),
    ("esophagus", "stomach"),
    ("pancreas", "spleen"),
    ("stomach", "spleen"),
]


@pytest.mark.parametrize(("one", "other"), NEIGHBOURS)
def test_neighbours_are_within_a_finger_of_each_other(scans, one, other):
    for scan in scans:
        gap, _ = cKDTree(scan.where(other)).query(scan.where(one))
        assert gap.min() < 16, scan.phase


def test_kidneys_flank_the_spine_and_vessels_lie_in_front_of_it(scans):
    for scan in scans:
        # The spine is found without the labels: the bone between the kidneys, at their level.
        left, right = scan.where("left_kidney"), scan.where("right_kidney")
        bone = np.argwhere((scan.hu > 120) & (scan.label == 0))
        bone = np.column_stack([bone @ scan.image.affine[axis, :3] + scan.image.affine[axis, 3] for axis in range(3)])
        level = (bone[:, HEAD] > left[:, HEAD].min()) & (bone[:, HEAD] < right[:, HEAD].max())
        between = (bone[:, RIGHT] > left[:, RIGHT].max()) & (bone[:, RIGHT] < right[:, RIGHT].min())
        spine = bone[level & between]
        assert len(spine) > 100
        assert left[:, RIGHT].mean() + 30 < spine[:, RIGHT].mean() < right[:, RIGHT].mean() - 30
        for vessel in ("aorta", "inferior_vena_cava"):
            assert scan.centre(vessel)[FRONT] > spine[:, FRONT].mean() + 15


def test_the_aorta_is_as_wide_as_an_adults(scans):
    for scan in scans:
        head = scan.where("aorta")[:, HEAD]
        area = 1000 * scan.millilitres("aorta") / np.ptp(head)
        assert 14 < 2 * np.sqrt(area / np.pi) < 30


@pytest.mark.parametrize("organ", HU)
def test_an_organ_measures_what_its_contrast_phase_says(scans, organ):
    for scan in scans:
        low, high = HU[organ][scan.phase]
        assert low <= np.median(scan.hu[scan.label == BTCV_ORGANS[organ]]) <= high, scan.phase


def test_noise_is_modest_and_the_large_organs_differ_more_than_it(scans):
    for scan in scans:
        deep = binary_erosion(scan.label == BTCV_ORGANS["spleen"], iterations=2)
        assert 5 < scan.hu[deep].std() < 25
        liver, kidney = (np.median(scan.hu[scan.label == BTCV_ORGANS[o]]) for o in ("liver", "left_kidney"))
        assert kidney - liver > 2 * scan.hu[deep].std()


def test_organs_lie_inside_the_body(scans):
    for scan in scans:
        # The body is what is denser than air, without what the table and the lungs leave loose.
        pieces, _ = components(scan.hu > -300)
        body = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
        stomach_gas = (scan.label == BTCV_ORGANS["stomach"]) & (scan.hu < -200)
        assert body[(scan.label > 0) & ~stomach_gas].mean() > 0.995


def test_fat_lung_gas_and_bone_are_there(scans):
    for scan in scans:
        inside = scan.hu[(scan.label == 0)]
        assert 0.05 < ((inside > -140) & (inside < -70)).mean() < 0.6
        assert ((inside > -900) & (inside < -750)).sum() > 2000
        assert (inside > 250).sum() > 300
        assert (scan.hu[scan.label == BTCV_ORGANS["stomach"]] < -500).sum() > 5
