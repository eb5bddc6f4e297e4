"""What an encoding costs in what is learned: small federated pre-trainings in one process, without NVFlare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import get_args

from fedswin.benchmarks.row import Bar, Row
from fedswin.benchmarks.setup import Setup
from fedswin.benchmarks.sides import Work, in_turn
from fedswin.config import Encoding, Job
from fedswin.data.datalist import Site, read_site
from fedswin.federation.global_model import GlobalModel
from fedswin.federation.site_model import SiteModel
from fedswin.tasks import build_model, build_task
from fedswin.training.scores import global_scores
from fedswin.training.trainer import Trainer, make_deterministic, pick_device
from fedswin.weights.file import parameters

KIND = "exchange"
_WITHIN_ONE_PER_CENT = Bar("ratio", 1.01, at_least=False)


def rows(setup: Setup) -> Iterator[Row]:
    """Compare the validation loss after the last round with that of the exact exchange."""
    rounds, steps = (2, 1) if setup.quick else (10, 4)
    setup.progress(f"validation loss after {rounds} rounds")
    sites = [read_site(folder) for folder in setup.phantoms]
    threads, batches = {"cpu_threads": setup.threads}, 1 if setup.quick else 8
    job = setup.demo_pretraining(batches, threads, {"rounds": rounds, "local_steps": steps})
    sides = {
        name: partial(federated_loss, job.changed("federation", exchange=name), sites) for name in get_args(Encoding)
    }
    losses = {name: [run.result for run in runs] for name, runs in in_turn(sides, 1, setup.threads, 0).items()}
    exact = losses.pop("fp32")
    for name, loss in losses.items():
        what = f"validation loss after {rounds} rounds of pre-training at 3 sites"
        yield Row(KIND, what, name, "", loss, "fp32", exact, (_WITHIN_ONE_PER_CENT,))


def federated_loss(job: Job, sites: Sequence[Site]) -> Work:
    """Make the work of a whole study of ``job``, which returns the validation loss of the last global model."""
    make_deterministic(job)
    members = [_Member(job, site) for site in sites]
    server = GlobalModel(job, parameters(build_model(job)))

    def run() -> float:
        held = None
        for number in range(job.federation.rounds):
            server.start_round()
            added = [member.train(server, held, number) for member in members]
            held = server.version
            server.advance(added)
        scores = {member.name: member.score(server, held) for member in members}
        return global_scores(scores)["loss"]

    return run


class _Member:
    """A site of such a study."""

    def __init__(self, job: Job, site: Site) -> None:
        self.name = site.name
        self._steps = job.federation.local_steps
        self._task = build_task(job, site, pick_device(job))
        self._trainer = Trainer(self._task, job, pick_device(job))
        self._end = SiteModel(self._task.model, job.federation)

    def train(self, server: GlobalModel, held: int | None, number: int) -> float:
        """Train the global model for a round and add the update to the next one; return the update's norm."""
        self._end.load(server.download_for(held))
        self._trainer.run(number * self._steps, self._steps)
        return server.add(self._end.update(), self._task.training_cases, self._steps).norm

    def score(self, server: GlobalModel, held: int | None) -> dict[str, object]:
        """Score the global model as a line of ``metrics.jsonl`` has it."""
        self._end.load(server.download_for(held))
        return {"metrics": self._task.validate().metrics, "validation_cases": self._task.validation_cases}
