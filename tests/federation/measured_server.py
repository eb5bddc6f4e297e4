"""A server in a process of its own, whose peak of memory is measured. Usage: SITES RULE EXCHANGE MEGABYTES FOLDER.

Its sites hold nothing: what they send is made when the server reads it, as NVFlare leaves it on disk until then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch

from end_to_end import tiny
from fedswin.config import Encoding, Job
from fedswin.federation import messages
from fedswin.federation.encoding import SCALE, Tensors, encode
from fedswin.federation.sites import Answer, Question
from fedswin.federation.study import Study

_ROUNDS = 2  # in the second one there are norms to judge by and, unless the exchange is exact, feedback
_MEGABYTE_SHAPE = (256, 1024)
"""Of a float32 tensor."""


class SitesWithoutMemory:
    """Sites that answer one after the other, each with an update of its own."""

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
                read = (lambda q=question, n=name: self._update(q, n)) if trains else dict
                receive(Answer(name, read, {"loss": 1.0}, report))
        assert is_over()

    def _update(self, question: Question, name: str) -> Tensors:
        """A small step, from the model itself or alone."""
        size = 0.01 * (1 + self._names.index(name))
        update: Tensors = {}
        for key, tensor in question.download.tensors.items():
            if not key.endswith(SCALE):
                step = torch.full(tensor.shape, size)
                update |= encode(key, tensor + step if self._encoding == "fp32" else step, self._encoding)
        return update


def peak_megabytes() -> int:
    """The most physical memory that this program has held so far.

    Linux only. ``getrusage`` would count the parent's memory, too, from before this program took its child's place.
    """
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


def job_of(sites: int, rule: str, exchange: str) -> Job:
    """A job of two rounds, which all sites take part in."""
    federation = {"rounds": _ROUNDS, "min_sites": sites, "exchange": exchange, "aggregation": {"rule": rule}}
    return tiny.job({**tiny.PRETRAIN, "federation": federation})


if __name__ == "__main__":
    sites, rule, exchange, megabytes, folder = sys.argv[1:]
    job = job_of(int(sites), rule, exchange)
    initial = {f"layer{number:04d}": torch.zeros(_MEGABYTE_SHAPE) for number in range(int(megabytes))}
    outcome = Study(job, Path(folder), SitesWithoutMemory(int(sites), job.federation.exchange), initial).run()
    assert outcome.ended == "completed"
    print(peak_megabytes())
