"""The loss: MONAI's where all classes are annotated, the marginal loss of Shi et al. where not."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss
from torch import Tensor

from fedswin.segmentation.losses import merge_unannotated, segmentation_loss

SHAPE = (4, 3, 2)


def draw(seed: int, batch: int, classes: int, shown: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, 1 + classes, *SHAPE, generator=rng)
    pick = torch.randint(0, 1 + len(shown), (batch, 1, *SHAPE), generator=rng)
    return logits.requires_grad_(), torch.tensor([0, *shown])[pick].to(torch.uint8)


def written_out(
    logits: Tensor, label: Tensor, annotated: tuple[int, ...], squared: bool, scored: Container[int] = range(99)
) -> Tensor:
    """The same loss in probabilities: -log p for cross entropy, and Dice; that of a channel not ``scored`` is 1."""
    power, smooth_nr, smooth_dr = (2, 0.0, 1e-6) if squared else (1, 1e-5, 1e-5)
    exponentials = logits.exp()
    p = exponentials / exponentials.sum(dim=1, keepdim=True)
    others = [index for index in range(p.shape[1]) if index not in annotated]
    probabilities = [p[:, others].sum(dim=1), *(p[:, index] for index in annotated)]
    targets = [~torch.isin(label[:, 0], torch.tensor(annotated)), *(label[:, 0] == index for index in annotated)]
    dice, likelihood = [], []
    for channel, (q, target) in enumerate(zip(probabilities, targets, strict=True)):
        t = target.to(q)
        overlap, total = (q * t).flatten(1).sum(1), (q**power + t**power).flatten(1).sum(1)
        loss = 1 - (2 * overlap + smooth_nr) / (total + smooth_dr)
        dice.append(loss if channel in scored else torch.ones_like(loss))
        likelihood.append(t * q.log())
    return torch.stack(dice).mean() - torch.stack(likelihood).sum(dim=0).mean()


@pytest.mark.parametrize("squared", [False, True])
def test_fully_annotated_it_is_monai_s_loss_bit_for_bit_as_the_paper_s_code_calls_it(squared: bool) -> None:
    options: dict[str, Any] = {"squared_pred": True, "smooth_nr": 0.0, "smooth_dr": 1e-6} if squared else {}
    monai = DiceCELoss(to_onehot_y=True, softmax=True, **options)
    ours, label = draw(0, 2, 3, (1, 2, 3))
    theirs = ours.detach().clone().requires_grad_()
    losses = segmentation_loss(ours, label, [(1, 2, 3)] * 2, squared=squared), monai(theirs, label)
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    assert torch.equal(ours.grad, theirs.grad)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 2), st.sets(st.integers(1, 4), min_size=1), st.booleans())
def test_value_and_gradient_are_those_of_the_probabilities_written_out(
    seed: int, batch: int, some: set[int], squared: bool
) -> None:
    annotated = tuple(sorted(some))
    ours, label = draw(seed, batch, 4, annotated)
    exact = ours.detach().double().requires_grad_()
    found = segmentation_loss(ours, label, [annotated] * batch, squared=squared)
    expected = written_out(exact, label, annotated, squared)
    found.backward()
    expected.backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("shift", [0.0, -2.0, -14.0, -15.0, -40.0])
def test_a_class_that_a_crop_does_not_show_adds_next_to_nothing_to_the_gradient(squared: bool, shift: float) -> None:
    """Neither where it is predicted all over the crop, nor where its few probabilities are of the size of smoothing."""
    logits, label = draw(5, 1, 3, (1, 2))
    ours = logits.detach().double()
    ours[:, 3] += shift
    without = ours.clone().requires_grad_()
    ours.requires_grad_()
    segmentation_loss(ours, label, [(1, 2, 3)], squared=squared).backward()
    written_out(without, label, (1, 2, 3), squared, scored=range(3)).backward()
    added = float((ours.grad - without.grad).abs().sum())
    predicted = float(ours.detach().softmax(1)[:, 3].sum())
    assert added <= (0 if squared else (2e-5 if predicted > 1 else 0.5) / 4) + 1e-7
    assert float(without.grad.abs().sum()) > 0.5


def test_the_probability_of_background_is_the_sum_of_what_is_merged() -> None:
    logits, label = draw(1, 1, 4, (2, 4))
    merged, indices = merge_unannotated(logits, label, (2, 4))
    p, q = logits.softmax(1), merged.softmax(1)
    torch.testing.assert_close(q[:, 0], p[:, 0] + p[:, 1] + p[:, 3])
    torch.testing.assert_close(q[:, 1:], p[:, [2, 4]])
    assert torch.equal(indices, torch.where(label == 4, 2, torch.where(label == 2, 1, 0)))


def test_background_over_an_unannotated_class_is_no_negative() -> None:
    """Sure of the unannotated class 2 on background: no loss there, while the ordinary loss is large."""
    logits = torch.zeros(1, 3, *SHAPE)
    label = torch.zeros(1, 1, *SHAPE, dtype=torch.uint8)
    label[..., 0] = 1
    logits[:, 1, ..., 0] = 20
    logits[:, 2, ..., 1] = 20
    assert float(segmentation_loss(logits, label, [(1,)])) < 1e-4
    assert float(segmentation_loss(logits, label, [(1, 2)])) > 5


def test_which_of_the_merged_classes_a_label_shows_does_not_matter() -> None:
    logits, label = draw(2, 1, 3, (2,))
    stray = torch.where(label == 0, 3, label)
    assert torch.equal(segmentation_loss(logits, stray, [(2,)]), segmentation_loss(logits, label, [(2,)]))


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_logits_of_any_size_give_finite_gradients(size: float) -> None:
    logits, label = draw(3, 1, 3, (2,))
    large = (logits.detach() * size).requires_grad_()
    loss = segmentation_loss(large, label, [(2,)])
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(large.grad).all()


def test_a_batch_of_differently_annotated_crops_has_the_mean_of_their_losses() -> None:
    annotated = [(1,), (2, 3), (1, 2, 3)]
    crops = [draw(seed, 1, 3, shown) for seed, shown in enumerate(annotated)]
    logits, label = (torch.cat(parts) for parts in zip(*crops, strict=True))
    alone = [segmentation_loss(*crop, [shown]) for crop, shown in zip(crops, annotated, strict=True)]
    assert torch.equal(segmentation_loss(logits, label, annotated), torch.stack(alone).mean())


def test_a_batch_of_alike_crops_has_the_mean_of_their_losses_too() -> None:
    logits, label = draw(4, 3, 3, (1, 3))
    alone = [segmentation_loss(logits[[n]], label[[n]], [(1, 3)]) for n in range(3)]
    torch.testing.assert_close(segmentation_loss(logits, label, [(1, 3)] * 3), torch.stack(alone).mean())
