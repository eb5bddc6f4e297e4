"""The losses against formulas written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fedswin.config import LossWeights
from fedswin.pretraining.losses import contrastive_loss, inpainting_loss, rotation_loss, total_loss


def nt_xent_by_hand(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    """Equation 5, term by term, in double precision."""
    codes = torch.cat([first, second]).double()
    count = len(first)
    total = 0.0
    for i in range(2 * count):
        similarity = [
            float(codes[i] @ codes[k] / codes[i].norm() / codes[k].norm()) / temperature for k in range(2 * count)
        ]
        others = sum(math.exp(value) for k, value in enumerate(similarity) if k != i)
        total -= math.log(math.exp(similarity[(i + count) % (2 * count)]) / others)
    return total / (2 * count)


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_contrastive_loss_is_equation_5(count, temperature):
    generator = torch.Generator().manual_seed(count)
    first, second = torch.randn(2, count, 16, generator=generator)
    found = contrastive_loss(first, second, temperature)
    assert float(found) == pytest.approx(nt_xent_by_hand(first, second, temperature), rel=1e-5)


def test_contrastive_loss_does_not_see_the_length_of_a_code():
    first, second = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    assert contrastive_loss(first * 7, second, 0.5) == pytest.approx(float(contrastive_loss(first, second, 0.5)))


def test_contrastive_loss_of_equal_codes_is_the_log_of_the_number_of_other_views():
    same = torch.ones(4, 8)
    assert float(contrastive_loss(same, same, 0.5)) == pytest.approx(math.log(7))


def test_inpainting_loss_is_over_the_whole_sub_volume():
    predicted, target = torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    target[0, 0, 0, 0, 0] = 4.0
    assert float(inpainting_loss(predicted, target)) == 0.5


def test_rotation_loss_of_a_blind_guess_is_log_4():
    assert float(rotation_loss(torch.zeros(3, 4), torch.tensor([0, 1, 3]))) == pytest.approx(math.log(4))


def test_total_is_the_weighted_sum():
    parts = {"inpainting": torch.tensor(1.0), "rotation": torch.tensor(10.0), "contrastive": torch.tensor(100.0)}
    assert float(total_loss(parts, LossWeights(inpainting=2, rotation=0, contrastive=0.5))) == 52.0


def test_mixed_precision_leaves_the_contrastive_loss_as_it_is():
    first, second = torch.randn(2, 4, 512, generator=torch.Generator().manual_seed(0))
    exact = contrastive_loss(first, second, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrastive_loss(first, second, 0.5), exact)
