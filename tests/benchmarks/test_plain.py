"""The plain side is what it says: MONAI's modules, with the paper's heads, and the work of both sides is alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from end_to_end import tiny
from fedswin.benchmarks.plain import (
    PlainPretrainer,
    PlainPretraining,
    batches,
    cached,
    random_crop,
    turned,
    with_cut_out,
)
from fedswin.config import parse_job
from fedswin.data.datalist import read_site
from fedswin.data.loading import Volumes
from fedswin.pretraining.heads import build_pretrainer

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

JOB = parse_job({**tiny.PRETRAIN, "pretraining": {}, "trainer": {"batch_size": 2, "device": "cpu"}}, "test")


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_both_sides_train_as_many_parameters() -> None:
    assert count(PlainPretrainer(JOB.model.feature_size)) == count(build_pretrainer(JOB))


def test_both_sides_see_the_same_volumes(tmp_path: Path) -> None:
    cases = read_site(tiny.write_sites(tmp_path, {"a": 2}) / "a").cases("training")
    for mine, plain in zip(Volumes(cases, JOB), cached(JOB, cases), strict=False):
        # FedSwin keeps 16 bits of the windowed values of 0 to 1.
        torch.testing.assert_close(mine.image(), plain["image"].as_tensor(), rtol=0, atol=2**-16)


def test_a_plain_step_trains(tmp_path: Path) -> None:
    cases = read_site(tiny.write_sites(tmp_path, {"a": 1}) / "a").cases("training")
    training = PlainPretraining(JOB, cases)
    before = [parameter.clone() for parameter in training._model.parameters()]
    training.step()
    changed = [not torch.equal(old, new) for old, new in zip(before, training._model.parameters(), strict=True)]
    assert all(changed)


def test_plain_batches_have_the_size_of_the_job(tmp_path: Path) -> None:
    cases = read_site(tiny.write_sites(tmp_path, {"a": 1}) / "a").cases("training")
    crops = next(batches(JOB, cached(JOB, cases, [random_crop(JOB)])))
    assert crops.shape == (2, 1, 32, 32, 32)


def test_turns_are_about_z_and_cut_out_leaves_most() -> None:
    torch.manual_seed(0)
    crops = torch.arange(4.0**3).reshape(1, 1, 4, 4, 4).repeat(8, 1, 1, 1, 1)
    views, turns = turned(crops)
    assert len(set(turns.tolist())) > 1
    for view, crop, turn in zip(views, crops, turns.tolist(), strict=True):
        for _ in range(turn):
            crop = crop.transpose(1, 2).flip(1)
        assert torch.equal(view, crop)
    whole = torch.full((2, 1, 32, 32, 32), 2.0)
    share = (with_cut_out(whole) < 2).float().mean((1, 2, 3, 4))
    assert share.tolist() == pytest.approx([0.27, 0.27], abs=0.06)  # less than 30 %: overlaps count twice
    assert (whole == 2).all()
