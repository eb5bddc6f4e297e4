"""Rotations: what is drawn, and what is done with it."""

from __future__ import annotations

import pytest
import torch

from fedswin.pretraining.rotation import draw_rotations, rotate
from fedswin.seeds import generator


@pytest.mark.parametrize(("axis", "still"), [("x", 0), ("y", 1), ("z", 2)])
def test_a_rotation_leaves_the_position_along_its_axis(axis, still):
    ramp = torch.arange(8.0).reshape([8 if number == still else 1 for number in range(3)]).expand(8, 8, 8)
    for turn in range(4):
        assert torch.equal(rotate(ramp[None, None], torch.tensor([turn]), axis)[0, 0], ramp)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_four_quarter_turns_come_back_and_one_does_not(axis):
    volume = torch.rand(1, 1, 8, 8, 8)
    turned = volume
    for _ in range(4):
        turned = rotate(turned, torch.tensor([1]), axis)
        assert torch.equal(turned, volume) == (_ == 3)


def test_each_volume_of_a_batch_has_its_own_turn():
    volumes = torch.rand(4, 1, 6, 6, 6)
    batched = rotate(volumes, torch.arange(4), "z")
    for number in range(4):
        alone = rotate(volumes[number : number + 1], torch.tensor([number]), "z")
        assert torch.equal(batched[number : number + 1], alone)


def test_rotations_are_drawn_from_all_four_and_by_seed():
    drawn = draw_rotations(400, generator(0, "a"))
    assert sorted(set(drawn.tolist())) == [0, 1, 2, 3]
    assert torch.equal(drawn, draw_rotations(400, generator(0, "a")))
    assert not torch.equal(drawn, draw_rotations(400, generator(0, "b")))
