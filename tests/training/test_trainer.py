"""The training loop against AdamW written out, with and without a proximal term."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fedswin.training.proximal import ProximalTerm
from fedswin.training.schedule import warmup_cosine
from fedswin.training.trainer import Trainer
from fedswin.weights.file import parameters
from training import small_task
from training.small_task import SmallTask

JOB = small_task.job()
CPU = torch.device("cpu")


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_proximal_term_it_is_clipped_adamw_bit_for_bit() -> None:
    task, by_hand = SmallTask(), SmallTask()
    means = Trainer(task, JOB, CPU).run(0, 6)
    optimizer = torch.optim.AdamW(by_hand.model.parameters(), weight_decay=1e-5)
    history = []
    for step in range(6):
        optimizer.param_groups[0]["lr"] = warmup_cosine(step, 0.01, 0, 6)
        loss = by_hand.losses(by_hand.batch(step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(by_hand.model.parameters(), 1.0)
        optimizer.step()
        history.append(loss.item())
    assert same(parameters(task.model), parameters(by_hand.model))
    assert means["loss"] == sum(history) / 6
    assert "proximal" not in means


def test_the_gradient_of_a_step_is_that_of_the_loss_with_the_term_written_out() -> None:
    task, mu = SmallTask(), 0.7
    anchor = parameters(task.model)
    term = ProximalTerm(task.model, mu)
    trainer = Trainer(task, small_task.job(trainer={"gradient_clip": None}), CPU)
    trainer.run(0, 2)  # away from the anchor
    weights = list(task.model.parameters())
    written_out = task.losses(task.batch(2))["loss"]
    for weight, start in zip(weights, anchor.values(), strict=True):
        written_out = written_out + mu / 2 * ((weight - start) ** 2).sum()
    expected = torch.autograd.grad(written_out, weights)
    means = trainer.run(2, 1, proximal=term)
    for weight, gradient in zip(weights, expected, strict=True):
        assert weight.grad is not None
        assert torch.allclose(weight.grad, gradient, rtol=1e-5, atol=1e-7)
    assert means["loss"] == pytest.approx(written_out.item(), rel=1e-6)


def test_the_term_is_a_part_of_the_loss_under_its_own_name() -> None:
    plain, pulled = SmallTask(), SmallTask()
    logged = []
    Trainer(pulled, JOB, CPU).run(0, 2, lambda step, values: logged.append(values), ProximalTerm(pulled.model, 2.0))
    assert logged[0]["proximal"] == 0
    assert logged[1]["proximal"] > 0
    Trainer(plain, JOB, CPU).run(0, 1)  # the first step is the same, for there the term pulls nowhere
    own = plain.losses(plain.batch(1))["loss"].item()
    assert logged[1]["loss"] - logged[1]["proximal"] == pytest.approx(own, rel=1e-5)


def test_the_larger_mu_the_nearer_a_model_stays_to_where_it_started() -> None:
    ways = []
    for mu in (0.0, 1.0, 1000.0):
        task = SmallTask()
        start = parameters(task.model)
        Trainer(task, small_task.job(local_steps=100), CPU).run(0, 100, proximal=ProximalTerm(task.model, mu))
        ways.append(distance(parameters(task.model), start))
    assert ways[0] > 2 * ways[1] > 20 * ways[2] > 0
