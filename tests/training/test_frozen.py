"""Frozen modules: bit for bit what they were, and the rest trained as by an optimizer that never saw them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.operations.evaluate import evaluate
from fedswin.operations.train import train
from fedswin.training.proximal import ProximalTerm
from fedswin.training.schedule import warmup_cosine
from fedswin.training.trainer import Trainer
from fedswin.weights.file import load_weights, parameters
from fedswin.weights.handover import initial_state
from training import small_task
from training.small_task import SmallTask

FROZEN = small_task.job(trainer={"frozen": ["body"], "weight_decay": 0.1})
CPU = torch.device("cpu")


def test_the_rest_is_trained_as_if_the_frozen_module_were_none_of_the_optimizers() -> None:
    task, by_hand = SmallTask(), SmallTask()
    before = parameters(task.model)
    Trainer(task, FROZEN, CPU).run(0, 6)
    trained = [*by_hand.model.head.parameters(), *by_hand.model.head2.parameters()]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.1)
    for step in range(6):
        optimizer.param_groups[0]["lr"] = warmup_cosine(step, 0.01, 0, 6)
        optimizer.zero_grad()
        by_hand.losses(by_hand.batch(step))["loss"].backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    torch.testing.assert_close(parameters(task.model), parameters(by_hand.model), rtol=0, atol=0)
    assert torch.equal(task.model.body.weight, before["body.weight"])
    assert not torch.equal(task.model.head.weight, before["head.weight"])


def test_a_state_is_taken_up_again_and_ends_at_the_same_model() -> None:
    whole, cut, later = SmallTask(), SmallTask(), SmallTask()
    Trainer(whole, FROZEN, CPU).run(0, 6)
    first = Trainer(cut, FROZEN, CPU)
    first.run(0, 3)
    later.model.load_state_dict(cut.model.state_dict())
    second = Trainer(later, FROZEN, CPU)
    second.load_state_dict(first.state_dict())
    second.run(3, 3)
    torch.testing.assert_close(parameters(later.model), parameters(whole.model), rtol=0, atol=0)


def test_a_proximal_term_leaves_it_where_it_is() -> None:
    task = SmallTask()
    before = parameters(task.model)
    means = Trainer(task, FROZEN, CPU).run(0, 3, proximal=ProximalTerm(task.model, 0.5))
    assert means["proximal"] > 0
    assert torch.equal(task.model.body.weight, before["body.weight"])


def test_to_freeze_what_is_not_there_is_refused() -> None:
    with pytest.raises(FedSwinError, match=r"trainer.frozen names 'bodie'.*did you mean 'body'"):
        Trainer(SmallTask(), small_task.job(trainer={"frozen": ["bodie"]}), CPU)


def test_a_probe_is_trained_and_scored_on_an_encoder_that_stays_as_it_is(tmp_path: Path) -> None:
    sites, quiet = tiny.write_sites(tmp_path / "sites", {"a": 1}), Console(quiet=True)
    segmentation = {**tiny.FINETUNE["segmentation"], "decoder": "linear"}
    job = tiny.job(
        {
            **tiny.FINETUNE,
            "segmentation": segmentation,
            "trainer": {**tiny.FINETUNE["trainer"], "frozen": ["swinViT"], "weight_decay": 0.1},
        }
    )
    train(job, sites / "a", tmp_path / "run", console=quiet)
    before = initial_state(job).tensors
    after = load_weights(tmp_path / "run" / "global" / "last.pt").tensors
    assert all(torch.equal(after[name], before[name]) == name.startswith("swinViT.") for name in before)
    [score] = evaluate([tmp_path / "run" / "global" / "last.pt"], sites)
    assert 0 <= score.scores["dice"] <= 1
