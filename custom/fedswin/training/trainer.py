"""The training loop: optimizer, schedule, clipping, mixed precision. It knows of no federation."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.training.distributed import ALONE, Ranks, RoundFailedError
from fedswin.training.memory import memory_in_use
from fedswin.training.precision import pick_precision
from fedswin.training.prefetch import made_ahead, on_device
from fedswin.training.proximal import ProximalTerm
from fedswin.training.schedule import warmup_cosine
from fedswin.training.scores import mean_scores
from fedswin.training.task import Task
from fedswin.weights.local import frozen_names

log = logging.getLogger(__name__)

StepLog = Callable[[int, dict[str, float]], None]
"""Called after each step with the study's step and that step's values."""


def pick_device(job: Job) -> torch.device:
    """Return the device of ``trainer.device``; ``auto`` takes a GPU where there is one.

    Raises:
        FedSwinError: if the job wants a GPU and there is none.
    """
    wanted, available = job.trainer.device, torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise FedSwinError("trainer.device is 'cuda', but torch sees no GPU here. Set it to 'auto' or 'cpu'.")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def make_deterministic(job: Job) -> None:
    """Set this process up so that the same job gives the same bits on the same machine and threads.

    On a CPU, torch's default gradient of the position-bias look-up adds in an arbitrary order. On a GPU
    the promise is best effort: operations without a deterministic form only warn.
    """
    if job.trainer.cpu_threads:
        torch.set_num_threads(job.trainer.cpu_threads)
    # Nothing here reads memory that it has not written, so there is no need to fill it first.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=pick_device(job).type == "cuda")


class Trainer:
    """Runs optimizer steps of a task.

    Args:
        task: the model, its batches and its loss.
        job: the trainer's settings and the length of the study.
        device: where the task's model lives.
        ranks: the processes that train the model together. Each has such a trainer, and all must run the same steps.

    Attributes:
        precision: of its steps: that of this machine, or of the one on which a study began that is resumed.
        why_precision: the reason for it.

    Raises:
        FedSwinError: if ``trainer.frozen`` names a module that the model does not have, or all of it.
    """

    def __init__(self, task: Task, job: Job, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.task = task
        self._job = job
        self._device = device
        self._ranks = ranks
        self._freeze()
        objective = _Objective(task)
        if job.trainer.compile:
            objective.compile()
        self._objective = ranks.averaging(objective)
        self.precision, self.why_precision = pick_precision(job, device)
        self._next_step = 0  # of the study, after those that the optimizer has made
        self.reset_optimizer()

    def _freeze(self) -> None:
        """Take the parameters of ``trainer.frozen`` out of training, before torch asks which of them have gradients."""
        parameters = dict(self.task.model.named_parameters())
        for name in frozen_names(parameters.keys(), self._job.trainer.frozen):
            parameters[name].requires_grad_(False)

    def reset_optimizer(self) -> None:
        """Start from a fresh optimizer, of all parameters that are trained."""
        settings = self._job.trainer
        self._optimizer = torch.optim.AdamW(
            [parameter for parameter in self.task.model.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )

    def _catch_up(self, step: int) -> None:
        """Do what ``federation.stale_optimizer`` says, if the optimizer has not made the steps right before ``step``.

        With ``decay`` AdamW is left as it would be after the missed steps with gradients of 0: its first moment times
        beta1 and its second one times beta2 for each, and its count of steps increased by them.
        """
        missed, choice = step - self._next_step, self._job.federation.stale_optimizer
        if missed <= 0 or choice == "keep" or not self._optimizer.state:
            return
        log.info("The optimizer has missed %d steps, federation.stale_optimizer: %s", missed, choice)
        if choice == "reset":
            self.reset_optimizer()
            return
        beta1, beta2 = self._job.trainer.betas
        for state in self._optimizer.state.values():
            state["exp_avg"] *= beta1**missed
            state["exp_avg_sq"] *= beta2**missed
            state["step"] += missed

    def run(
        self,
        first: int,
        steps: int,
        log: StepLog = lambda step, values: None,
        proximal: ProximalTerm | None = None,
    ) -> dict[str, float]:
        """Run optimizer steps ``first`` to ``first + steps - 1`` of the study.

        Args:
            first: the study's step to start at.
            steps: how many to make.
            log: is told of each step.
            proximal: is added to ``loss``, and reported as ``proximal`` beside the loss's other parts.

        Returns:
            The mean of each loss over the steps and the processes.

        Raises:
            FedSwinError: if a gradient is not finite. The model is then of no use any more.
        """
        self.task.model.train()
        self._catch_up(first)
        history = []
        with closing(made_ahead(self._batch, range(first, first + steps))) as batches:
            for step in range(first, first + steps):
                started = time.perf_counter()
                with self._ranks.agreeing():
                    batch, waited = next(batches)
                values = self._step(step, batch, proximal)
                history.append(values)
                log(step, values | self._speed(time.perf_counter() - started) | {"waiting_seconds": waited})
        self._next_step = first + steps
        return self._ranks.mean(mean_scores(history))

    def _speed(self, seconds: float) -> dict[str, float]:
        voxels = self._job.voxels_per_step * self._ranks.size
        return {
            "steps_per_second": 1 / seconds,
            "voxels_per_second": voxels / seconds,
            "memory_megabytes": memory_in_use(self._device) / 1e6,
        }

    def _batch(self, step: int) -> Any:
        device = next(self.task.model.parameters()).device  # self._device may leave open which GPU
        return on_device(self.task.batch(self._ranks.batch_number(step)), device)

    def _step(self, step: int, batch: Any, proximal: ProximalTerm | None) -> dict[str, float]:
        settings = self._job.trainer
        rate = warmup_cosine(step, settings.learning_rate, settings.warmup_steps, self._job.total_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        losses = self._losses(batch, proximal)
        self._optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), settings.gradient_clip or float("inf"))
        self._optimizer.step()
        # Read only now, and in one go, so that a GPU is not waited for within the step.
        *read, gradient_norm = torch.stack([*(value.detach().float() for value in losses.values()), norm]).tolist()
        values = dict(zip(losses, read, strict=True))
        if not math.isfinite(gradient_norm):
            raise RoundFailedError(
                f"step {step}: the gradient is not finite (losses {values}). Lower trainer.learning_rate, set "
                "trainer.gradient_clip, or look for damaged images with 'fedswin data check'."
            )
        return values | {"learning_rate": rate, "gradient_norm": gradient_norm}

    def _losses(self, batch: Any, proximal: ProximalTerm | None) -> dict[str, Tensor]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            losses: dict[str, Tensor] = self._objective(batch, proximal)
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Return what a later process needs, beside the model, to go on as if never interrupted.

        Batches, views and the learning rate are functions of the study's step and the seed, so the optimizer's moments
        and the step that they are of are all there is, with the precision, which another processor would choose
        otherwise. It is a copy, which further steps leave as it is.
        """
        optimizer = copy.deepcopy(self._optimizer.state_dict())
        return {"optimizer": optimizer, "next_step": self._next_step, "precision": self.precision}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that `state_dict` returned, in this process or another; ``state`` may be taken up again."""
        # AdamW steps in place on the very tensors that it is given.
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self._next_step = state.get("next_step", 0)  # none from an earlier version, whose jobs all keep the moments
        if "precision" in state:
            self.precision = state["precision"]
        elif self._device.type == "cpu":
            self.precision = "float32"  # what an earlier version trained in


class _Objective(nn.Module):
    """A task's losses as a module of its model, since torch averages the gradients of what a module's forward uses."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._losses = task.losses

    def forward(self, batch: Any, proximal: ProximalTerm | None) -> dict[str, Tensor]:
        losses = self._losses(batch)
        if proximal is None:
            return losses
        pull = proximal()
        return losses | {"loss": losses["loss"] + pull, "proximal": pull}
