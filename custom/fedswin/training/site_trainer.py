"""What one site does in a round: score the model it was given, then train it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.tasks import build_task
from fedswin.training.distributed import ALONE, Ranks, RoundFailedError
from fedswin.training.journal import Journal
from fedswin.training.memory import keep_freed_memory, memory_in_use
from fedswin.training.pictures import PictureLog
from fedswin.training.proximal import ProximalTerm
from fedswin.training.scores import Validation
from fedswin.training.trainer import Trainer, make_deterministic, pick_device

log = logging.getLogger(__name__)

AddScalar = Callable[[str, float, int], None]
"""Takes a tag, a value and a step, as ``SummaryWriter.add_scalar`` does."""


@dataclass(frozen=True)
class LocalRound:
    """What a site reports of its training in one round.

    Attributes:
        train: means of the losses over the round.
        steps: optimizer steps made.
        cases: training cases.
        seconds: time spent training.
        voxels: how many went through the network, in all processes.
        memory: bytes that the process needs, see `memory_in_use`.
    """

    train: dict[str, float]
    steps: int
    cases: int
    seconds: float
    voxels: int
    memory: int


class SiteTrainer:
    """One site's model, data, optimizer and journal, for as long as the study runs.

    Args:
        job: the job.
        site: the site's cases.
        journal: the site's own record.
        add_scalar: receives the training curves.
        ranks: the processes that train together. Process 0 calls what it needs; each other one has a trainer of its
            own, made after that of process 0, and only calls `follow`.
        pictures: receives pictures of what each model does, if the site wants them.
    """

    def __init__(
        self,
        job: Job,
        site: Site,
        journal: Journal,
        add_scalar: AddScalar,
        ranks: Ranks = ALONE,
        pictures: PictureLog | None = None,
    ) -> None:
        make_deterministic(job)
        keep_freed_memory()
        device = pick_device(job)
        self._job = job
        self._device = device
        self._regions = site.regions
        self._journal = journal
        self._add_scalar = add_scalar
        self._ranks = ranks
        self._pictures = pictures
        self.task = build_task(job, site, device, lambda text: journal.write("reading", 0, text=text))
        with ranks.together():
            if ranks.leads:
                ranks.tell(site)  # the others read the cases once this process has found them good
            self._trainer = Trainer(self.task, job, device, ranks)
        log.info(
            "Training on %s, %s CPU threads, in %s (%s), window attention: %s.",
            device,
            torch.get_num_threads(),
            self._trainer.precision,
            self._trainer.why_precision,
            job.model.attention,
        )

    @property
    def model(self) -> nn.Module:
        """The site's model."""
        return self.task.model

    @property
    def holdings(self) -> dict[str, Any]:
        """What the site says of its cases and its machine, as `fedswin.provenance.holdings` takes it."""
        return {
            "precision": self._trainer.precision,
            "cases": self.task.training_cases,
            "validation_cases": self.task.validation_cases,
            "labels": dict(self.task.annotated_cases),
            "regions": list(self._regions),
        }

    def score(self, round_number: int) -> Validation:
        """Score the model as it is now, global model ``round_number``, on the site's validation cases."""
        self._journal.write("scoring", round_number)
        validation = self.task.validate()
        if self._pictures:
            self._pictures.write(self.task.pictures, round_number * self._job.federation.local_steps)
        return validation

    def train(self, round_number: int) -> LocalRound:
        """Train for ``federation.local_steps``, from global model ``round_number`` on.

        Raises:
            FedSwinError: if a gradient is not finite. After this or any other exception the model and the optimizer
                are somewhere in the middle of the round. To go on in a later one, load a global model, and
                `load_state_dict` what `state_dict` returned before; modules of ``federation.local``, which no global
                model has, must be put back with it.
        """
        self._tell("train", round_number)
        steps = self._job.federation.local_steps
        first = round_number * steps
        if self._job.federation.reset_optimizer:
            self._trainer.reset_optimizer()
        started = time.perf_counter()

        def log(step: int, values: dict[str, float]) -> None:
            self._journal.write("training", round_number, step=step - first + 1, of=steps, **values)
            for name, value in values.items():
                self._add_scalar(f"train/{name}", value, step)

        self._journal.write("training", round_number, step=0, of=steps)  # or the first step would count as scoring
        with self._ranks.together():
            self._ranks.align(self.model)
            means = self._trainer.run(first, steps, log, self._proximal_term())
        self._journal.write("waiting", round_number)
        seconds = time.perf_counter() - started
        voxels = steps * self._job.voxels_per_step * self._ranks.size
        return LocalRound(means, steps, self.task.training_cases, seconds, voxels, memory_in_use(self._device))

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the trainer's state, see `Trainer.state_dict`."""
        return self._trainer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that `state_dict` returned."""
        self._tell("load_state_dict", state)
        self._trainer.load_state_dict(state)

    def follow(self) -> None:
        """Do along with process 0 what it does, until it says that this was all."""
        while order := self._ranks.tell():
            method, argument = order
            with suppress(RoundFailedError):  # process 0 has the same, and says what is next
                if method == "train":
                    self.train(argument)
                else:
                    self.load_state_dict(argument)

    def _tell(self, method: str, argument: Any) -> None:
        if self._ranks.leads:
            with self._ranks.together():
                self._ranks.tell((method, argument))

    def _proximal_term(self) -> ProximalTerm | None:
        federation = self._job.federation
        return ProximalTerm(self.model, federation.proximal, federation.local) if federation.proximal else None
