"""``trainer.compile``: torch can trace a step of the Swin transformer, and what it traces is the same step."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from end_to_end import tiny
from fedswin.pretraining.heads import build_pretrainer
from fedswin.swin import compiled as kernels_of_swin
from fedswin.training.trainer import Trainer
from fedswin.weights.file import parameters
from training import small_task
from training.small_task import SmallTask

CPU = torch.device("cpu")


class SwinTask(SmallTask):
    """Views of noise, and losses of all three heads."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_pretrainer(tiny.job(tiny.PRETRAIN))  # type: ignore[assignment]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        views = torch.randn(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(step))
        return views, views

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        predicted = self.model(batch[0])
        return {"loss": sum(part.square().mean() for part in predicted)}  # type: ignore[dict-item]


@pytest.mark.long
def test_a_compiled_step_is_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []

    def run_as_traced(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        """In place of the compiler, which takes minutes on a CPU."""
        traced.append(len(graph.graph.nodes))
        return graph

    monkeypatch.setattr(kernels_of_swin, "kernels", None)  # torch cannot trace them, and they round otherwise
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=run_as_traced))
    plain, compiled = SwinTask(), SwinTask()
    Trainer(plain, small_task.job(), CPU).run(0, 2)
    assert not traced
    Trainer(compiled, small_task.job(trainer={"compile": True}), CPU).run(0, 2)
    assert sum(traced) > 100
    torch.testing.assert_close(parameters(compiled.model), parameters(plain.model), rtol=0, atol=0)
