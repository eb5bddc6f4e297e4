"""The server with more and more sites: peak memory and time, and those of a server that holds every update."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from fedswin.benchmarks.row import Bar, Growth, Row
from fedswin.benchmarks.setup import Setup
from fedswin.benchmarks.sides import Work, in_turn, peak_row, seconds
from fedswin.config import Encoding, Job
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.federation.encoding import SCALE, Tensors, encode
from fedswin.federation.sites import Answer, Question
from fedswin.federation.study import Study

KIND = "server"
_ROUNDS = 2
"""In the second one there are norms to judge by and, unless the exchange is exact, feedback."""
MEGABYTE = (256, 1024)
"""The shape of a float32 tensor."""
_NO_MORE = Bar("ratio", 1.0, at_least=False)
_ALL_HELD = "all updates held"


def rows(setup: Setup) -> Iterator[Row]:
    """Measure servers of several numbers of sites."""
    megabytes, counts = (4, (2, 4)) if setup.quick else (100, (2, 4, 8, 16))
    peaks = []
    for sites in counts:
        what = f"{_ROUNDS} rounds of {sites} sites, model of {megabytes} MB"
        setup.progress(what)
        job = study_job(setup, sites)
        runs = in_turn(
            {
                "ours": partial(served_study, job, megabytes, setup.folder / f"servers{sites}"),
                "held": partial(all_held, job, megabytes),
            },
            setup.repeats,
            setup.threads,
            warm_ups=0,
        )
        yield Row(KIND, what, "time", "s", seconds(runs["ours"]), _ALL_HELD, seconds(runs["held"]))
        growths = (Growth(f"Peak memory of the server, model of {megabytes} MB", "sites", sites, "MB"),)
        peaks.append(peak_row(KIND, what, _ALL_HELD, runs, growths=growths))
        yield peaks[-1]
    few, many = peaks[0], peaks[-1]
    if few.ours:
        bound = [few.ours[0] + megabytes * 2**20 / 1e6]
        yield Row(
            KIND,
            many.subject,
            "peak memory",
            "MB",
            many.ours,
            f"with {counts[0]} sites, and one model more",
            bound,
            (_NO_MORE,),
        )


def study_job(setup: Setup, sites: int) -> Job:
    """Return a job of two rounds, which all sites take part in."""
    return setup.pretraining(12, 32, federation={"rounds": _ROUNDS, "min_sites": sites, "local_steps": 1})


def served_study(job: Job, megabytes: int, folder: Path) -> Work:
    """Make the work of a server: a whole study with sites that hold nothing. It returns the study's folder.

    Args:
        job: the job; ``federation.min_sites`` is the number of the sites.
        megabytes: the size of the model, in units of 2**20 bytes.
        folder: where each study gets a folder.
    """
    initial = model(megabytes)
    folder.mkdir(parents=True)

    def serve() -> Path:
        study = Path(tempfile.mkdtemp(dir=folder))
        sites = SitesWithoutMemory(job.federation.min_sites, job.federation.exchange)
        if Study(job, study, sites, initial).run().ended != "completed":
            raise FedSwinError(f"{study}: the study of the benchmark has failed. Its log says why.")
        return study

    return serve


def all_held(job: Job, megabytes: int) -> Work:
    """Make the work of a server that holds all updates of a round, and then averages them; it returns the last mean."""
    initial = model(megabytes)

    def serve() -> Tensors:
        published = initial
        for _ in range(job.federation.rounds):
            updates = [
                {name: tensor + _size(site) for name, tensor in published.items()}
                for site in range(job.federation.min_sites)
            ]
            published = {name: torch.stack([update[name] for update in updates]).mean(0) for name in published}
        return published

    return serve


def model(megabytes: int) -> Tensors:
    """Return a model of zeros, in tensors of 2**20 bytes."""
    return {f"layer{number:04d}": torch.zeros(MEGABYTE) for number in range(megabytes)}


class SitesWithoutMemory:
    """Sites that answer one after the other, each with an update of its own.

    What they send is made when the server reads it, as NVFlare leaves it on disk until then.
    """

    def __init__(self, count: int, encoding: Encoding) -> None:
        self._names = [f"site{number:02d}" for number in range(count)]
        self._encoding: Encoding = encoding

    def connected(self) -> list[str]:
        """The names of the sites."""
        return self._names

    def silent(self) -> Collection[str]:
        """Nobody."""
        return ()

    def ask(
        self, questions: Sequence[Question], receive: Callable[[Answer], None], is_over: Callable[[], bool]
    ) -> None:
        """Answer everything."""
        report = {"cases": 1, "steps": 1, "validation_cases": 1}
        for question in questions:
            for name in question.sites:
                trains = question.task == messages.TRAIN
                read = partial(self._update, question, name) if trains else dict
                receive(Answer(name, read, {"loss": 1.0}, report))

    def _update(self, question: Question, name: str) -> Tensors:
        """A small step, from the model itself or alone."""
        update: Tensors = {}
        for key, tensor in question.download.tensors.items() if question.download else ():
            if not key.endswith(SCALE):
                step = torch.full(tensor.shape, _size(self._names.index(name)))
                update |= encode(key, tensor + step if self._encoding == "fp32" else step, self._encoding)
        return update


def _size(site: int) -> float:
    """How far a site moves each parameter in a round."""
    return 0.01 * (1 + site)
