"""Dice against hand-made label maps."""

from __future__ import annotations

import pytest
import torch

from fedswin.segmentation.metrics import dice_by_class
from fedswin.training.scores import mean_scores


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
