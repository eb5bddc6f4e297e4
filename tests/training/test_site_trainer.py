"""A site's round: the pull starts anew from each global model, and a failed round can be left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.errors import FedSwinError
from fedswin.training import site_trainer
from fedswin.training.journal import JOURNAL, Journal
from fedswin.training.site_trainer import SiteTrainer
from fedswin.weights.file import load_parameters, parameters
from training import small_task
from training.small_task import SmallTask

Scalars = list[tuple[str, float, int]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a trainer of the small task, and the list that its curves go to."""

    def make(job: Job) -> tuple[SiteTrainer, Scalars]:
        monkeypatch.setattr(site_trainer, "build_task", lambda *arguments: SmallTask())
        scalars: Scalars = []
        trainer = SiteTrainer(job, Site("a", tmp_path), Journal(tmp_path), lambda *scalar: scalars.append(scalar))
        return trainer, scalars

    return make


def test_each_round_is_pulled_to_the_model_that_it_starts_from(start: Any, tmp_path: Path) -> None:
    trainer, scalars = start(small_task.job(proximal=0.5))
    reports = [trainer.train(number).train for number in range(2)]
    pulls = {step: value for tag, value, step in scalars if tag == "train/proximal"}
    assert [step for step, value in pulls.items() if value == 0] == [0, 3]
    assert [report["proximal"] for report in reports] == pytest.approx(
        [sum(pulls[step] for step in steps) / 3 for steps in (range(3), range(3, 6))]
    )
    lines = [json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "training" and line["step"]]
    assert [line["proximal"] for line in steps] == list(pulls.values())


def test_without_mu_no_pull_is_reported(start: Any) -> None:
    trainer, scalars = start(small_task.job())
    assert set(trainer.train(0).train) == {"loss", "learning_rate", "gradient_norm"}
    assert not [tag for tag, _, _ in scalars if "proximal" in tag]


def test_speed_and_memory_are_drawn_and_reported(start: Any) -> None:
    trainer, scalars = start(small_task.job())
    done = trainer.train(0)
    assert done.voxels == 3 * 4 * 2 * 96**3  # steps, sub-volumes, views
    assert 10e6 < done.memory < 64e9
    curves = {tag: [value for name, value, _ in scalars if name == tag] for tag, _, _ in scalars}
    voxels, steps = curves["train/voxels_per_second"], curves["train/steps_per_second"]
    assert [a / b for a, b in zip(voxels, steps, strict=True)] == pytest.approx([done.voxels / 3] * 3)
    assert sum(1 / rate for rate in steps) < done.seconds


def test_a_module_of_the_site_s_own_trains_as_if_nothing_pulled(start: Any) -> None:
    def way(job: Job) -> dict[str, float]:
        trainer, _ = start(job)
        before = parameters(trainer.model)
        trainer.train(0)
        after = parameters(trainer.model)
        return {
            module: float((after[f"{module}.bias"] - before[f"{module}.bias"]).norm()) for module in ("body", "head")
        }

    strong = {"proximal": 1000.0, "local_steps": 50}
    all_pulled, head_free = way(small_task.job(**strong)), way(small_task.job(**strong, local=["head"]))
    assert all_pulled["head"] < 0.05 < 0.1 < head_free["head"]
    assert head_free["body"] < 0.05


def test_after_a_failed_round_a_site_goes_on_from_what_it_had_before(start: Any) -> None:
    trainer, _ = start(small_task.job())
    undisturbed, _ = start(small_task.job())
    for each in (trainer, undisturbed):
        each.train(0)
    model, state = parameters(trainer.model), trainer.state_dict()
    trainer.task.breaks_at = 4
    with pytest.raises(FedSwinError, match="not finite"):
        trainer.train(1)
    load_parameters(trainer.model, model, "the global model")
    trainer.load_state_dict(state)
    trainer.task.breaks_at = 1000
    assert trainer.train(1).train == undisturbed.train(1).train
    expected = parameters(undisturbed.model)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in parameters(trainer.model).items())
