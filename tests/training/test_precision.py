"""When steps are in bfloat16, what stays in float32, and that a resumed study keeps what it began with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from end_to_end import tiny
from fedswin.config import Job
from fedswin.training import precision
from fedswin.training.precision import pick_precision
from fedswin.training.trainer import Trainer

CPU = torch.device("cpu")


def job(task: str = "pretrain", feature_size: int = 48, **trainer: Any) -> Job:
    content = tiny.PRETRAIN if task == "pretrain" else tiny.FINETUNE
    return tiny.job({**content, "model": {"feature_size": feature_size}, "trainer": trainer})


@pytest.mark.parametrize(
    ("given", "device", "has_bfloat16", "expected"),
    [
        (job(), "cpu", True, "bfloat16"),
        (job(), "cpu", False, "float32"),
        (job(feature_size=12), "cpu", True, "float32"),
        (job("finetune", 12), "cpu", True, "bfloat16"),
        (job(amp=False), "cpu", True, "float32"),
        (job(feature_size=12), "cuda", False, "bfloat16"),
        (job(amp=False), "cuda", False, "float32"),
    ],
)
def test_it_follows_the_setting_the_machine_and_the_size(
    given: Job, device: str, has_bfloat16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: has_bfloat16)
    assert pick_precision(given, torch.device(device))[0] == expected


def test_a_processor_without_bfloat16_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    assert "no instructions for bfloat16" in pick_precision(job(), CPU)[1]


class _OneLayer:
    """A task whose loss is a matrix product, and notes in what it was made."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(8, 8)
        self.seen: list[torch.dtype] = []

    def batch(self, number: int) -> torch.Tensor:
        return torch.randn(4, 8, generator=torch.Generator().manual_seed(number))

    def losses(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.model(batch)
        self.seen.append(out.dtype)
        return {"loss": out.float().square().mean()}


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)


@pytest.mark.usefixtures("with_bfloat16")
def test_a_step_is_made_in_it_and_the_parameters_stay_in_float32() -> None:
    task: Any = _OneLayer()
    Trainer(task, job(), CPU).run(0, 1)
    assert task.seen == [torch.bfloat16]
    assert {parameter.dtype for parameter in task.model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.usefixtures("with_bfloat16")
def test_two_runs_give_the_same_bits() -> None:
    def run() -> torch.Tensor:
        task: Any = _OneLayer()
        Trainer(task, job(), CPU).run(0, 5)
        return task.model.weight.detach()

    assert torch.equal(run(), run())


def test_a_study_that_is_resumed_keeps_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    began: Any = Trainer(_OneLayer(), job(), CPU)  # type: ignore[arg-type]
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    task: Any = _OneLayer()
    resumed = Trainer(task, job(), CPU)
    assert resumed.precision == "float32"
    resumed.load_state_dict(began.state_dict())
    resumed.run(0, 1)
    assert task.seen == [torch.bfloat16]


@pytest.mark.usefixtures("with_bfloat16")
def test_a_state_of_an_earlier_version_is_of_float32() -> None:
    state = Trainer(_OneLayer(), job(), CPU).state_dict()  # type: ignore[arg-type]
    del state["precision"]
    resumed: Any = Trainer(_OneLayer(), job(), CPU)  # type: ignore[arg-type]
    resumed.load_state_dict(state)
    assert resumed.precision == "float32"
