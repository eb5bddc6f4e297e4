"""The training loop against AdamW written out, with and without a proximal term; a state is taken and put back."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from fedswin.errors import FedSwinError
from fedswin.training.proximal import ProximalTerm
from fedswin.training.schedule import warmup_cosine
from fedswin.training.trainer import Trainer
from fedswin.weights.file import load_parameters, parameters
from training import small_task
from training.small_task import SmallTask

JOB = small_task.job()
CPU = torch.device("cpu")


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return dict(torch.load(file, weights_only=True))


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


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_state_put_back_after_a_failed_round_gives_the_bits_of_one_that_never_failed(steps_before: int) -> None:
    task, undisturbed = SmallTask(), SmallTask()
    trainer, other = Trainer(task, JOB, CPU), Trainer(undisturbed, JOB, CPU)
    trainer.run(0, steps_before)
    other.run(0, steps_before)
    model, state = parameters(task.model), trainer.state_dict()
    for _ in range(2):  # fails, and fails again
        task.breaks_at = 4
        with pytest.raises(FedSwinError, match="step 4: the gradient is not finite"):
            trainer.run(2, 3)
        assert not same(parameters(task.model), model)
        load_parameters(task.model, model, "the model of before")
        trainer.load_state_dict(state)
    task.breaks_at = 1000
    assert trainer.run(2, 3) == other.run(2, 3)
    assert same(parameters(task.model), parameters(undisturbed.model))


def test_a_state_that_was_taken_does_not_change_with_what_follows() -> None:
    trainer = Trainer(SmallTask(), JOB, CPU)
    trainer.run(0, 2)
    state = trainer.state_dict()
    kept = saved_and_loaded(state)
    trainer.run(2, 2)
    trainer.load_state_dict(state)
    trainer.run(2, 2)
    torch.testing.assert_close(state["optimizer"], kept["optimizer"], rtol=0, atol=0)
    assert float(state["optimizer"]["state"][0]["step"]) == 2


def test_a_state_read_from_a_file_is_as_good() -> None:
    task, later = SmallTask(), SmallTask()
    trainer, resumed = Trainer(task, JOB, CPU), Trainer(later, JOB, CPU)
    trainer.run(0, 3)
    load_parameters(later.model, parameters(task.model), "the checkpoint")
    resumed.load_state_dict(saved_and_loaded(trainer.state_dict()))
    trainer.run(3, 3)
    resumed.run(3, 3)
    assert same(parameters(task.model), parameters(later.model))
