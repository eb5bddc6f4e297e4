"""Cut-out: what is drawn, and what is done with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fedswin.pretraining.cutout import (
    Patch,
    cut_out,
    draw_dropped_voxels,
    draw_mask,
    draw_patches,
    noise_and_swap,
    overwrite,
)

SIDES = st.sampled_from([32, 64])


@settings(max_examples=25, deadline=None)
@given(st.tuples(SIDES, SIDES, SIDES), st.integers(0, 2**20))
def test_cutout_drops_30_to_31_percent(shape, seed):
    share = draw_mask(shape, 0.3, np.random.default_rng(seed)).mean()
    assert 0.30 <= share < 0.31


def test_cutout_at_the_papers_size_drops_30_to_31_percent():
    assert 0.30 <= draw_mask((96, 96, 96), 0.3, np.random.default_rng(0)).mean() < 0.31


@pytest.mark.parametrize("seed", range(5))
def test_no_box_is_longer_than_a_quarter_of_the_side(seed):
    mask = draw_mask((64, 64, 32), 0.001, np.random.default_rng(seed))  # so little that it is one box
    for places, side in zip(mask.nonzero(), mask.shape, strict=True):
        assert places.max() - places.min() + 1 <= side // 4


def test_cutout_of_nothing_drops_nothing():
    assert not draw_mask((32, 32, 32), 0.0, np.random.default_rng(0)).any()


def test_cut_out_replaces_dropped_voxels_by_noise_and_leaves_the_others():
    volumes = torch.rand(2, 1, 32, 32, 32) + 2
    dropped, noise = draw_dropped_voxels(volumes.shape, 0.3, np.random.default_rng(1))
    found = cut_out(volumes, 0.3, np.random.default_rng(1))
    assert torch.equal(found[~dropped], volumes[~dropped])
    assert torch.equal(found[dropped], noise[dropped])
    assert float(noise.min()) >= 0
    assert float(noise.max()) < 1
    assert not torch.equal(dropped[0], dropped[1])


def lost(cutout, seed: int) -> torch.Tensor:
    """The share of each of four views that is no longer what it was; view v holds the value 2 + v everywhere."""
    volumes = (torch.arange(4.0) + 2).reshape(4, 1, 1, 1, 1).expand(4, 1, 32, 32, 32)
    return (cutout(volumes, 0.3, np.random.default_rng(seed)) != volumes).float().mean(dim=(1, 2, 3, 4))


def test_the_paper_drops_30_percent_and_the_reference_code_anything_up_to_60():
    paper, reference = (torch.cat([lost(cutout, seed) for seed in range(25)]) for cutout in (cut_out, noise_and_swap))
    assert paper.min() >= 0.30
    assert paper.max() < 0.31
    assert reference.min() < 0.1
    assert reference.max() > 0.35
    assert reference.max() <= 0.62


def sources_of(views: int, rng: np.random.Generator) -> list[int]:
    """The view that each view gets voxels from; itself where there is none."""
    patches = draw_patches((views, 1, 20, 20, 20), 0.05, rng)
    found = [{patch.source for patch in patches if patch.view == view} - {None} for view in range(views)]
    return [next(iter(sources), view) for view, sources in enumerate(found)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_reference_code_draws_each_view_of_the_same_set_alike_and_never_the_partner(count):
    """``aug_rand`` draws ``randint(0, N)`` for each set of N views, and leaves the swap out where it draws itself."""
    draws, rng = 400, np.random.default_rng(count)
    found = np.zeros((2 * count, 2 * count), int)
    for _ in range(draws):
        found[range(2 * count), sources_of(2 * count, rng)] += 1
    for view, row in enumerate(found):
        of_set = row[:count] if view < count else row[count:]
        assert row[(view + count) % (2 * count)] == 0, "the partner is the other view of the same sub-volume"
        assert of_set.sum() == draws, "nothing comes from the other set"
        assert count == 1 or chisquare(of_set).pvalue > 1e-4


def test_no_voxel_of_the_partner_is_in_a_view():
    volumes = (torch.arange(6.0) + 2).reshape(6, 1, 1, 1, 1).expand(6, 1, 32, 32, 32)  # noise is of 0 to 1
    found = [noise_and_swap(volumes, 0.3, np.random.default_rng(seed)) for seed in range(20)]
    values = [{value for views in found for value in views[view].unique().tolist() if value > 1} for view in range(6)]
    assert values == [{2, 3, 4}] * 3 + [{5, 6, 7}] * 3


def test_boxes_and_noise_are_within_the_reference_codes_bounds():
    patches = draw_patches((4, 1, 32, 32, 32), 0.3, np.random.default_rng(0))
    assert all(patch.noise.min() >= 0 and patch.noise.max() <= 1 for patch in patches if patch.noise is not None)
    for patch in patches:
        assert all(side.stop - side.start < 32 // 4 for side in patch.box)


def test_patches_are_applied_in_their_order_so_what_is_swapped_in_may_be_noise():
    volumes = torch.arange(2.0).reshape(2, 1, 1, 1, 1).expand(2, 1, 4, 4, 4)
    box = (slice(0, 2), slice(1, 3), slice(0, 1))
    patches = [Patch(0, box, noise=torch.full((2, 2, 1), 0.5)), Patch(1, box, source=0)]
    found = overwrite(volumes, patches)
    for view in range(2):
        assert (found[view, 0][box] == 0.5).all()
        assert (found[view] == view).sum() == 64 - 4
    assert torch.equal(volumes[0], torch.zeros(1, 4, 4, 4))


def test_the_same_seed_overwrites_the_same():
    volumes = torch.rand(4, 1, 32, 32, 32)
    first, second = (noise_and_swap(volumes, 0.3, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first, second)
