"""Dice, HD, HD95 and NSD against hand-made label maps, a brute force, and DeepMind's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from fedswin.segmentation.metrics import dice_by_class, score
from fedswin.training.scores import mean_scores

SPACING = (0.7, 1.0, 3.0)


def cube(low, high, shape=(30, 30, 30)):
    """A cube of class 1 from voxel ``low`` to below ``high`` along each axis."""
    labels = np.zeros(shape, np.uint8)
    labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = 1
    return labels


def scores(predicted, reference, spacing=SPACING, tolerance=1.0):
    return score(predicted, reference, {"organ": 1}, spacing, {"organ": tolerance})


def random_masks(seed, shape=(33, 28, 22)):
    """A random blob, and the same a little changed."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 2)
    changed = field + 0.3 * gaussian_filter(rng.normal(size=shape), 2)
    return (changed > 0.02).astype(np.uint8), (field > 0.02).astype(np.uint8)


def brute_force_hausdorff(predicted, reference, spacing, percentile):
    """Equation 8 over the centres of all voxels with a face to the outside."""
    surfaces = []
    for mask in (predicted, reference):
        padded = np.pad(mask.astype(bool), 1)
        inner = padded.copy()
        for axis in range(3):
            inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        surfaces.append(np.argwhere(padded & ~inner) * spacing)
    there, back = (cKDTree(b).query(a)[0] for a, b in (surfaces, surfaces[::-1]))
    return max(np.percentile(there, percentile), np.percentile(back, percentile))


def test_dice_is_equation_7_and_a_class_that_is_absent_is_left_out():
    reference, predicted = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    reference[0, :2] = 1  # 32 voxels
    predicted[0, 1:3] = 1  # 32 voxels, 16 of them right
    predicted[0, 3, 0, 0] = 2
    found = dice_by_class(predicted, reference, ["organ", "absent"])
    assert found["dice_organ"] == pytest.approx(2 * 16 / (32 + 32))
    assert found["dice_absent"] is None
    assert found["dice"] == pytest.approx(0.5)


def test_a_class_that_is_not_annotated_is_left_out_and_no_part_of_the_mean():
    reference, predicted = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4)
    reference[0, :2] = 2
    predicted[0, :1] = 2
    predicted[0, 1:] = 1  # where it is the unannotated class, that is missed; elsewhere it is no fault
    found = dice_by_class(predicted, reference, ["unknown", "organ"], ["organ"])
    assert found == {"dice": pytest.approx(2 / 3), "dice_organ": pytest.approx(2 / 3)}


def test_nothing_to_find_has_no_score():
    empty = torch.zeros(1, 4, 4, 4)
    assert dice_by_class(empty, empty, ["organ"]) == {"dice": None, "dice_organ": None}


def test_means_are_weighted_and_skip_what_is_undefined():
    scores = [{"a": 1.0, "b": None}, {"a": 4.0, "b": 2.0}, {"a": float("nan")}]
    assert mean_scores(scores, [1, 2, 100]) == {"a": pytest.approx(3.0), "b": 2.0}
    assert mean_scores([]) == {}
    assert mean_scores([{"a": 1.0}], [0]) == {}


@pytest.mark.parametrize(
    "labels", [cube((5, 5, 5), (15, 15, 15)), cube((0, 0, 0), (30, 30, 30)), cube((3,) * 3, (4,) * 3)]
)
def test_a_perfect_prediction(labels):
    found = scores(labels, labels)
    assert (found["dice"], found["hd95"], found["nsd"]) == (1, 0, pytest.approx(1))
    assert (found["missed"], found["spurious"]) == (0, 0)


@pytest.mark.parametrize("axis", range(3))
def test_a_shifted_cube_is_off_by_the_shift_in_mm(axis):
    reference = cube((10, 10, 10), (20, 20, 20))
    shift = 2 * SPACING[axis]
    found = scores(np.roll(reference, 2, axis), reference, tolerance=shift + 0.01)
    assert found["dice"] == pytest.approx(0.8)
    assert found["hd95"] == pytest.approx(shift)
    assert found["nsd"] == pytest.approx(1)
    assert scores(np.roll(reference, 2, axis), reference, tolerance=0.1)["nsd"] < 0.8


def test_nested_cubes_lie_the_gap_apart():
    outer, inner = cube((5, 5, 5), (25, 25, 25)), cube((9, 9, 9), (21, 21, 21))
    found = scores(inner, outer, (1.5, 1.5, 1.5), tolerance=5.9)
    assert found["dice"] == pytest.approx(2 * 12**3 / (12**3 + 20**3))
    assert found["nsd"] == 0  # the gap is 6 mm everywhere, or more
    assert 6 <= found["hd95"] <= 6 * 3**0.5
    assert scores(inner, outer, (1.5, 1.5, 1.5), tolerance=6 * 3**0.5 + 0.01)["nsd"] == pytest.approx(1)


def test_a_lesion_of_one_voxel_found_in_the_wrong_place():
    there, here = cube((4, 5, 6), (5, 6, 7)), cube((8, 2, 7), (9, 3, 8))
    found = scores(there, here, tolerance=1)
    assert found["hd95"] == pytest.approx(np.sqrt((4 * 0.7) ** 2 + 3**2 + 3**2))
    assert (found["dice"], found["nsd"]) == (0, 0)


def test_half_of_a_plates_surface_is_right():
    thin, thick = cube((10, 0, 0), (12, 60, 60), (30, 60, 60)), cube((10, 0, 0), (20, 60, 60), (30, 60, 60))
    found = scores(thin, thick, (1, 1, 1), tolerance=1)
    assert found["nsd"] == pytest.approx(0.5, abs=0.05)  # the rims count too


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.tuples(*[st.floats(0.5, 5)] * 3))
def test_hd_and_hd95_are_those_of_a_brute_force_and_of_monai(seed, spacing):
    predicted, reference = random_masks(seed, (14, 12, 11))
    predicted[0, 0, 0] = reference[6, 6, 6] = 1  # neither is empty
    found = scores(predicted, reference, spacing)
    masks = [torch.from_numpy(mask)[None, None] for mask in (predicted, reference)]
    for name, percentile in (("hd", 100), ("hd95", 95)):
        expected = brute_force_hausdorff(predicted, reference, spacing, percentile)
        assert found[name] == pytest.approx(expected, abs=1e-4)
        monai = compute_hausdorff_distance(*masks, include_background=True, percentile=percentile, spacing=spacing)
        assert found[name] == monai.item()


def test_a_stray_voxel_decides_hd_and_not_hd95():
    reference = cube((5, 5, 5), (15, 15, 15))
    predicted = reference.copy()
    predicted[10, 10, 29] = 1
    found = scores(predicted, reference, (1.0, 1.0, 2.0))
    assert found["hd"] == pytest.approx(2.0 * (29 - 14))
    assert found["hd95"] == 0


# From compute_surface_dice_at_tolerance of DeepMind's surface-distance (package surface-distance-based-measures 0.1).
DEEPMIND = [
    (0, (0.7, 1.0, 3.0), 1.3, 0.9815919110496902),
    (0, (3.0, 0.8, 0.8), 2.0, 0.9947456155334664),
    (3, (0.7, 1.0, 3.0), 1.3, 0.9760899015629432),
    (3, (1.0, 1.0, 1.0), 1.0, 0.976501334860949),
]


@pytest.mark.parametrize(("seed", "spacing", "tolerance", "expected"), DEEPMIND)
def test_nsd_is_deepminds(seed, spacing, tolerance, expected):
    assert scores(*random_masks(seed), spacing, tolerance)["nsd"] == pytest.approx(expected, abs=1e-6)


def test_nsd_of_a_shifted_cube_is_deepminds():
    reference = cube((10, 10, 10), (20, 20, 20), (40, 40, 40))
    found = scores(np.roll(reference, 2, 0), reference, (0.7, 1.0, 3.0), 1.3)
    assert found["nsd"] == pytest.approx(0.5522592277209358, abs=1e-6)


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0)])
def test_the_order_and_direction_of_the_axes_do_not_matter(order):
    predicted, reference = random_masks(5)
    spacing = [SPACING[axis] for axis in order]
    turned = scores(predicted.transpose(order)[::-1], reference.transpose(order)[::-1], spacing)
    assert turned == pytest.approx(scores(predicted, reference), abs=1e-4)


def test_what_is_missed_gets_the_worst_scores_and_what_is_absent_gets_none():
    reference, predicted = cube((2, 2, 2), (6, 6, 6)), np.zeros((30, 30, 30), np.uint8)
    reference[10:14] = 2
    predicted[10:14] = 2
    predicted[20:24] = 3
    classes = {"missed": 1, "right": 2, "spurious": 3, "absent": 4}
    found = score(predicted, reference, classes, SPACING, dict.fromkeys(classes, 1.0))
    diagonal = 30 * np.linalg.norm(SPACING)
    assert (found["dice_missed"], found["nsd_missed"]) == (0, 0)
    assert found["hd_missed"] == found["hd95_missed"] == pytest.approx(diagonal)
    assert found["hd_right"] == found["hd95_right"] == 0
    for metric in ("dice", "hd", "hd95", "nsd"):
        assert found[f"{metric}_spurious"] is None
        assert found[f"{metric}_absent"] is None
    assert (found["dice"], found["hd"], found["hd95"]) == (0.5, *[pytest.approx(diagonal / 2)] * 2)
    assert (found["missed"], found["spurious"]) == (1, 1)


def test_only_the_classes_asked_for_are_scored():
    reference = cube((2, 2, 2), (6, 6, 6))
    reference[10:14] = 2
    found = score(reference, np.zeros_like(reference), {"two": 2}, SPACING, {"two": 1.0})
    assert (found["missed"], found["spurious"], found["dice"]) == (0, 1, None)
    assert set(found) == {f"{m}{n}" for m in ("dice", "hd", "hd95", "nsd") for n in ("", "_two")} | {
        "missed",
        "spurious",
    }
