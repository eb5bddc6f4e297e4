"""A task small enough to follow by hand: least squares with three modules, which start and train alike on each run."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fedswin.config import Job, parse_job
from fedswin.seeds import integer
from fedswin.training.scores import Validation


def job(*, trainer: dict[str, Any] | None = None, **federation: Any) -> Job:
    """Return a job of two rounds of three steps, without warm-up, in float32."""
    return parse_job(
        {
            "name": "small",
            "task": "pretrain",
            "trainer": {"learning_rate": 0.01, "warmup_steps": 0, "device": "cpu", "amp": False, **(trainer or {})},
            "federation": {"rounds": 2, "local_steps": 3, **federation},
        },
        "test",
    )


class SmallTask:
    """Least squares on eight random points a step; from step ``breaks_at`` on the targets are not numbers."""

    training_cases = 8
    validation_cases = 0
    annotated_cases: ClassVar[dict[str, int]] = {}

    def __init__(self, breaks_at: int = 1000) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = nn.Sequential()
            for name in ("body", "head", "head2"):
                self.model.add_module(name, nn.Linear(4, 4))
        self.breaks_at = breaks_at

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(integer(0, step))
        inputs, targets = torch.randn(2, 8, 4, generator=generator)
        return inputs, targets if step < self.breaks_at else targets * torch.nan

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"loss": nn.functional.mse_loss(self.model(batch[0]), batch[1])}

    def validate(self) -> Validation:
        return Validation({}, {})
