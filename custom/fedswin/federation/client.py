"""A site in the federation: a thin loop around `fedswin.training.site_trainer.SiteTrainer`.

What it sends is parameters and scalars. Errors leave as their kind only: messages may name files.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import nvflare.client as flare
from nvflare.apis.dxo import MetaKey
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.client.tracking import SummaryWriter

from fedswin.config import Job, load_job
from fedswin.data.datalist import Site, read_site
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.federation.exchange import pack, size_of, unpack
from fedswin.training.journal import Journal
from fedswin.training.site_trainer import SiteTrainer

log = logging.getLogger(__name__)


def serve() -> None:
    """Answer the server's tasks until the job ends."""
    job_file = Path(os.environ[messages.JOB_FILE_VARIABLE])
    flare.init()
    worker = SiteWorker(load_job(job_file), flare.get_site_name(), job_file.parents[2] / "site")
    while flare.is_running():
        task = flare.receive()
        if task is not None:
            flare.send(worker.answer(flare.get_task_name(), task))


class SiteWorker:
    """Answers one task at a time.

    Args:
        job: the job.
        name: the site's name.
        folder: where the site keeps its journal.
    """

    def __init__(self, job: Job, name: str, folder: Path) -> None:
        self._job = job
        self._name = name
        self._journal = Journal(folder)
        self._trainer: SiteTrainer | None = None

    def answer(self, name: str, task: FLModel) -> FLModel:
        """Return the reply to the task called ``name``."""
        if name == messages.PREPARE:
            return self._prepare()
        trainer = self._ready()
        unpack(trainer.model, task.params, f"the global model of round {task.current_round}")
        bytes_down = size_of(task.params)
        metrics = trainer.score(task.current_round)
        about: dict[str, Any] = {"validation_cases": trainer.task.validation_cases}
        if name == messages.VALIDATE:
            return FLModel(metrics=metrics, meta=about)
        done = trainer.train(task.current_round)
        params = pack(trainer.model)
        about |= {
            MetaKey.NUM_STEPS_CURRENT_ROUND: done.cases,  # NVFlare's name for the weight of an update
            "train": done.train,
            "steps": done.steps,
            "cases": done.cases,
            "seconds": round(done.seconds, 3),
            "bytes_up": size_of(params),
            "bytes_down": bytes_down,
        }
        return FLModel(params=params, params_type=ParamsType.FULL, metrics=metrics, meta=about)

    def _prepare(self) -> FLModel:
        try:
            trainer = self._ready()
        except FedSwinError as error:
            log.error("This site cannot take part: %s", error)
            return FLModel(metrics={}, meta={"error": "the site's data or settings; see the site's own log"})
        cases = {"cases": trainer.task.training_cases, "validation_cases": trainer.task.validation_cases}
        return FLModel(metrics={}, meta=cases)

    def _ready(self) -> SiteTrainer:
        if self._trainer is None:
            writer = SummaryWriter()
            self._trainer = SiteTrainer(self._job, _site_data(self._name), self._journal, writer.add_scalar)
        return self._trainer


def _site_data(name: str) -> Site:
    """Find the site's own data: its path is the site's business, never the job's."""
    if folder := os.environ.get(messages.SITE_DATA_VARIABLE):
        site = read_site(Path(folder))
        return Site(name, site.folder, site.splits)
    if folder := os.environ.get(messages.SITES_DATA_VARIABLE):
        return read_site(Path(folder) / name)
    raise FedSwinError(f"{messages.SITE_DATA_VARIABLE} is not set. Set it to this site's data folder and start again.")
