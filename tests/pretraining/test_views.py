"""Rotation and cut-out: what is drawn, and what is done with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedswin.pretraining.views import cut_out, draw_cutout, draw_dropped_voxels, draw_rotations, rotate
from fedswin.seeds import generator

SIDES = st.sampled_from([32, 64])


@settings(max_examples=25, deadline=None)
@given(st.tuples(SIDES, SIDES, SIDES), st.integers(0, 2**20))
def test_cutout_drops_30_to_31_percent(shape, seed):
    share = draw_cutout(shape, 0.3, np.random.default_rng(seed)).mean()
    assert 0.30 <= share < 0.31


def test_cutout_at_the_papers_size_drops_30_to_31_percent():
    assert 0.30 <= draw_cutout((96, 96, 96), 0.3, np.random.default_rng(0)).mean() < 0.31


@pytest.mark.parametrize("seed", range(5))
def test_no_box_is_longer_than_a_quarter_of_the_side(seed):
    mask = draw_cutout((64, 64, 32), 0.001, np.random.default_rng(seed))  # so little that it is one box
    for places, side in zip(mask.nonzero(), mask.shape, strict=True):
        assert places.max() - places.min() + 1 <= side // 4


def test_cutout_of_nothing_drops_nothing():
    assert not draw_cutout((32, 32, 32), 0.0, np.random.default_rng(0)).any()


def test_cut_out_replaces_dropped_voxels_by_noise_and_leaves_the_others():
    volumes = torch.rand(2, 1, 32, 32, 32) + 2
    dropped, noise = draw_dropped_voxels(volumes.shape, 0.3, np.random.default_rng(1))
    found = cut_out(volumes, dropped, noise)
    assert torch.equal(found[~dropped], volumes[~dropped])
    assert torch.equal(found[dropped], noise[dropped])
    assert float(noise.min()) >= 0
    assert float(noise.max()) < 1
    assert not torch.equal(dropped[0], dropped[1])


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
