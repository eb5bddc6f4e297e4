"""A site that trains again after rounds without it: its optimizer's moments, against AdamW and closed forms."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.training.schedule import warmup_cosine
from fedswin.training.trainer import Trainer
from fedswin.weights.file import load_parameters, parameters
from training import small_task
from training.small_task import SmallTask

CPU = torch.device("cpu")
CHOICES = ["keep", "reset", "decay"]
ROUNDS = 6


def job_of(choice: str) -> Job:
    return small_task.job(rounds=ROUNDS, stale_optimizer=choice, trainer={"gradient_clip": None})


def trained(choice: str, *rounds: int) -> tuple[Trainer, dict[str, Tensor]]:
    """Train in ``rounds``, of three steps each, from the model that each one leaves."""
    task = SmallTask()
    trainer = Trainer(task, job_of(choice), CPU)
    for number in rounds:
        trainer.run(3 * number, 3)
    return trainer, parameters(task.model)


def moments(trainer: Trainer) -> list[tuple[Tensor, Tensor, float]]:
    states = trainer.state_dict()["optimizer"]["state"].values()
    return [(state["exp_avg"], state["exp_avg_sq"], float(state["step"])) for state in states]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def by_hand(choice: str, *rounds: int) -> dict[str, Tensor]:
    """AdamW that is made anew after missed steps, or makes them with gradients and a learning rate of 0."""
    task = SmallTask()
    weights = list(task.model.parameters())
    optimizer, done = torch.optim.AdamW(weights, weight_decay=1e-5), 0
    for step in (step for number in rounds for step in range(3 * number, 3 * number + 3)):
        if choice == "reset" and step > done:
            optimizer = torch.optim.AdamW(weights, weight_decay=1e-5)
        for _ in range(step - done if choice == "decay" else 0):
            optimizer.param_groups[0]["lr"] = 0.0
            for weight in weights:
                weight.grad = torch.zeros_like(weight)
            optimizer.step()
        optimizer.param_groups[0]["lr"] = warmup_cosine(step, 0.01, 0, 3 * ROUNDS)
        optimizer.zero_grad()
        task.losses(task.batch(step))["loss"].backward()
        optimizer.step()
        done = step + 1
    return parameters(task.model)


@pytest.mark.parametrize("choice", CHOICES)
def test_after_missed_rounds_it_is_adamw_with_that_choice(choice: str) -> None:
    _, found = trained(choice, 0, 3, 5)
    torch.testing.assert_close(found, by_hand(choice, 0, 3, 5), rtol=1e-5, atol=1e-6)


def test_the_choices_differ_and_the_default_is_to_keep() -> None:
    models = [trained(choice, 0, 3)[1] for choice in CHOICES]
    assert not any(same(models[one], models[other]) for one, other in [(0, 1), (0, 2), (1, 2)])
    assert small_task.job().federation.stale_optimizer == "keep"


@pytest.mark.parametrize("choice", CHOICES)
def test_a_site_that_misses_no_round_is_left_alone(choice: str) -> None:
    assert same(trained(choice, 0, 1, 2)[1], trained("keep", 0, 1, 2)[1])
    assert same(trained(choice, 3)[1], trained("keep", 3)[1]), "a first round has missed nothing"


@pytest.mark.parametrize("missed", [1, 4, 5000])
def test_decayed_moments_are_those_of_gradients_of_0(missed: int) -> None:
    trainer, _ = trained("decay", 0)
    before = moments(trainer)
    trainer.run(3 + missed, 0)
    for (first, second, step), (first_before, second_before, step_before) in zip(moments(trainer), before, strict=True):
        torch.testing.assert_close(first, first_before * 0.9**missed)
        torch.testing.assert_close(second, second_before * 0.999**missed)
        assert step == step_before + missed


def test_after_a_long_absence_the_steps_of_decayed_moments_are_up_to_6_learning_rates() -> None:
    """What the setting's description says: AdamW's steps of a constant gradient, its second moment at 0 before."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=1.0, weight_decay=0.0)
    trainer_like = {"exp_avg": torch.zeros(1).double(), "exp_avg_sq": torch.zeros(1).double()}
    optimizer.state[weight] = {**trainer_like, "step": torch.tensor(20_000.0)}
    steps = []
    for _ in range(40):
        before = float(weight.detach())
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        steps.append(before - float(weight.detach()))
    assert max(steps) == pytest.approx(6.6, abs=0.1)
    assert 8 < steps.index(max(steps)) < 15


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return dict(torch.load(file, weights_only=True))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_resumed_site_does_what_one_does_that_was_never_stopped(choice: str) -> None:
    trainer, model = trained(choice, 0)
    _, expected = trained(choice, 0, 3)
    task = SmallTask()
    resumed = Trainer(task, job_of(choice), CPU)
    load_parameters(task.model, model, "the checkpoint")
    resumed.load_state_dict(saved_and_loaded(trainer.state_dict()))
    resumed.run(9, 3)
    assert same(parameters(task.model), expected)


def test_a_state_of_before_the_setting_is_taken_up() -> None:
    trainer, model = trained("keep", 0)
    task = SmallTask()
    resumed = Trainer(task, job_of("keep"), CPU)
    load_parameters(task.model, model, "the checkpoint")
    resumed.load_state_dict({"optimizer": trainer.state_dict()["optimizer"]})
    resumed.run(3, 3)
    assert same(parameters(task.model), trained("keep", 0, 1)[1])


def test_beside_reset_optimizer_the_setting_has_no_effect_and_is_refused() -> None:
    with pytest.raises(FedSwinError, match="stale_optimizer 'decay' has no effect with reset_optimizer"):
        small_task.job(stale_optimizer="decay", reset_optimizer=True)
