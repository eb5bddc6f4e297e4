"""A site in the federation: a thin loop around `fedswin.training.site_trainer.SiteTrainer`.

What it sends is parameters and scalars. Errors leave as their kind only: messages may name files.
"""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.client.tracking import SummaryWriter

from fedswin.config import Job, load_job
from fedswin.data.datalist import Site, read_site
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.federation.exchange import Download, wire_bytes
from fedswin.federation.site_model import SiteModel
from fedswin.federation.site_policy import SITE_POLICY, SitePolicy, load_site_policy, site_data_folder
from fedswin.federation.state import StateFolder
from fedswin.run_folder import describe_run
from fedswin.run_lock import lock_run
from fedswin.training.distributed import ALONE, Ranks
from fedswin.training.followers import followers
from fedswin.training.journal import Journal
from fedswin.training.pictures import PictureLog
from fedswin.training.site_trainer import SiteTrainer
from fedswin.weights.file import Weights, parameters, save_weights

OWN_MODEL = "model.pt"
"""A site's own model, with ``federation.local``, in the site's folder."""

_FAILURES = 3
"""After so many in a row a site asks to be left out."""

log = logging.getLogger(__name__)


def serve(processes: int = 1) -> None:
    """Answer the server's tasks until the job ends, training in so many processes."""
    job = load_job(Path(os.environ[messages.JOB_FILE_VARIABLE]))
    flare.init()
    name = flare.get_site_name()
    study = Path(os.environ[messages.STUDY_FOLDER_VARIABLE])
    folder = study / "sites" / name
    policy = load_site_policy(Path(os.environ[messages.KIT_VARIABLE]))
    within = _within(job, policy)
    with lock_run(folder), followers(within, processes) as ranks:
        describe_run(study, job, "submit")
        worker = SiteWorker(within, name, folder, policy, ranks)
        while flare.is_running() and not ranks.is_broken:
            task = flare.receive()
            if task is not None:
                flare.send(worker.answer(flare.get_task_name(), task))


class SiteWorker:
    """Answers one task at a time; whatever goes wrong in one, the process stays for the next.

    Args:
        job: the job.
        name: the site's name.
        folder: where the site keeps its journal and its state.
        policy: what the site allows.
        ranks: the processes that train.
    """

    def __init__(self, job: Job, name: str, folder: Path, policy: SitePolicy, ranks: Ranks = ALONE) -> None:
        self._job = job
        self._policy = policy
        self._ranks = ranks
        self._name = name
        self._folder = folder
        self._journal = Journal(folder)
        self._states = StateFolder(folder / "state")
        self._trainer: SiteTrainer | None = None
        self._model: SiteModel
        self._start: dict[str, Any]
        self._is_restored = False
        self._previous = -1  # the round that this site last sent an update in
        self._failures = 0  # in a row

    def answer(self, name: str, task: FLModel) -> FLModel:
        """Return the reply to the task called ``name``; after an error, with what had been done until then."""
        reply = FLModel(metrics={}, meta={})
        try:
            if task.meta.get("refused"):
                log.warning("The server refused this site's last update: %s", task.meta["refused"])
                self._take_back(task.current_round - 1)
            if name == messages.PREPARE:
                reply.meta = self._ready().holdings
            else:
                self._score(task, reply)
            if name == messages.TRAIN:
                self._train(task, reply)
        except Exception as error:
            log.exception("This site cannot answer in round %s", task.current_round)
            self._failures += 1
            self._is_restored = False  # the next attempt starts where the last good round ended
            reply.meta |= {"error": _kind(error), "leaves": self._failures >= _FAILURES or self._ranks.is_broken}
        else:
            self._failures = 0
        return reply

    def _score(self, task: FLModel, reply: FLModel) -> None:
        """Load the global model, and score it before it is trained."""
        trainer, number = self._ready(), task.current_round
        if not self._is_restored:
            self._restore(number)
        reply.meta = {"bytes_down": wire_bytes(task.params), "previous": self._previous}
        self._model.load(Download(task.params, task.meta["version"], task.meta["whole"]))
        task.params = None  # NVFlare keeps the task until it is answered
        validation = trainer.score(number)
        reply.metrics = validation.metrics
        reply.meta |= {"validation_cases": trainer.task.validation_cases, "scored": validation.scored}

    def _train(self, task: FLModel, reply: FLModel) -> None:
        """Train the model that has been loaded, write down the state, and reply with the update."""
        trainer, number = self._ready(), task.current_round
        done = trainer.train(number)
        update = self._model.update()
        self._states.save(number, {"trainer": trainer.state_dict(), "model": self._model.state_dict()})
        self._keep_own_model(number)
        self._previous = number
        reply.params, reply.params_type = update, ParamsType.FULL
        reply.meta |= {**asdict(done), "seconds": round(done.seconds, 3), "bytes_up": wire_bytes(update)}

    def _keep_own_model(self, number: int) -> None:
        """With local modules the site's model is one that only the site has, so it is kept here, whole."""
        if self._job.federation.local:
            weights = Weights(parameters(self._ready().model), self._job, {"round": number, "site": self._name})
            save_weights(self._folder / OWN_MODEL, weights)

    def _ready(self) -> SiteTrainer:
        if self._trainer is None:
            writer = SummaryWriter()

            def send(tag: str, value: float, step: int) -> None:
                if self._policy.allows_scalar(tag.rpartition("/")[2]):
                    writer.add_scalar(tag, value, step)

            data = _site_data(self._name, self._policy)
            pictures = PictureLog(self._folder) if self._policy.pictures else None
            trainer = SiteTrainer(self._job, data, self._journal, send, self._ranks, pictures)
            cases = trainer.task.training_cases
            if cases < self._policy.min_cases:
                raise FedSwinError(
                    f"This site has {cases} training cases for this job, and trains with {self._policy.min_cases} at "
                    "least: min_cases in its site.yaml."
                )
            self._model = SiteModel(trainer.model, self._job.federation)
            self._start = trainer.state_dict()
            self._trainer = trainer
        return self._trainer

    def _take_back(self, number: int) -> None:
        """Forget a round whose update was refused: what was bad in it must not come again with the next one."""
        self._states.drop(number)
        self._is_restored = False

    def _restore(self, number: int) -> None:
        """Go back to where the last round before ``number`` ended: a process that has just started, or a failed round.

        The site may have trained that round already, if the server was stopped before it had all updates.
        """
        found = self._states.load(below=number)
        if not found and number:
            log.warning("This site has no state from before round %d, so its optimizer starts anew", number)
        state: dict[str, Any] = found[1] if found else {"trainer": self._start, "model": None}
        self._ready().load_state_dict(state["trainer"])
        self._model.load_state_dict(state["model"])
        self._is_restored = True


def _kind(error: Exception) -> str:
    """Name the kind of an error, without its message: that may hold a path."""
    if isinstance(error, FedSwinError):
        return "the site's data or settings"
    code = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return type(error).__name__ + (f" ({code})" if code else "")


def _within(job: Job, policy: SitePolicy) -> Job:
    """Return the job with no more CPU threads than the site allows."""
    if policy.cpu_threads is None:
        return job
    threads = min(policy.cpu_threads, job.trainer.cpu_threads or policy.cpu_threads)
    return job.changed("trainer", cpu_threads=threads)


def _site_data(name: str, policy: SitePolicy) -> Site:
    """Find the site's own data: its path is the site's business, never the job's."""
    if folder := os.environ.get(messages.SITES_DATA_VARIABLE):
        return read_site(Path(folder) / name)
    own = site_data_folder(policy)
    if own is None:
        raise FedSwinError(f"This site's data folder is not known. Write it into {SITE_POLICY}: data: /path/to/it")
    site = read_site(own)
    return replace(site, name=name)
