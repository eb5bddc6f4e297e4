"""Sites without processes, on a clock that turns by itself: what the server's side of a study is tested against."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from fedswin.config import Job
from fedswin.federation import messages
from fedswin.federation.site_model import SiteModel
from fedswin.federation.sites import Answer, Question

Behaviour = Callable[[Question, Answer], Answer | None]
"""Turns the good answer of a site into what it really says; ``None`` for no answer."""


class TinyModel(torch.nn.Module):
    """Two modules with parameters, and a buffer that must not cross."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Linear(6, 4)
        self.head = torch.nn.Linear(4, 2)
        self.register_buffer("count", torch.tensor(3))


def tiny_tensors(seed: int = 0) -> dict[str, Tensor]:
    """The parameters of a `TinyModel`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {name: value.detach().clone() for name, value in TinyModel().named_parameters()}


class FakeSite:
    """Trains by adding what is a function of its name and the round, and scores by what the model has become."""

    def __init__(self, job: Job, name: str, cases: int) -> None:
        self.name, self.cases = name, cases
        self.model = TinyModel()
        self._end = SiteModel(self.model, job.federation)
        self._previous = -1

    def answer(self, question: Question) -> Answer:
        """Answer as a healthy site does."""
        if question.task == messages.PREPARE:
            return Answer(self.name, report={"cases": self.cases})
        self._end.load(question.download)
        metrics = {"loss": float(sum((value.detach() ** 2).sum() for value in self.model.parameters()))}
        report = {"validation_cases": 1}
        previous = self._previous
        if question.task == messages.VALIDATE:
            return Answer(self.name, metrics=metrics, report=report, previous=previous)
        rng = torch.Generator().manual_seed(zlib.crc32(f"{self.name} {question.round}".encode()))
        with torch.no_grad():
            for value in self.model.parameters():
                value.mul_(0.9).add_(torch.randn(value.shape, generator=rng), alpha=0.01)
        update = dict(self._end.update())
        self._previous = question.round
        report |= {"cases": self.cases, "steps": 5, "train": {"loss": metrics["loss"]}, "seconds": 1.0}
        return Answer(self.name, lambda: update, metrics, report, previous)


class FakeSites:
    """The sites of a study.

    Args:
        job: the job.
        cases: each site's name and number of training cases.
        behaviours: what a site does other than answer well.
        order: turns the names of those who answer into the order of arrival.
    """

    def __init__(
        self,
        job: Job,
        cases: Mapping[str, int],
        behaviours: Mapping[str, Behaviour] | None = None,
        order: Callable[[list[str]], Sequence[str]] = list,
    ) -> None:
        self.sites = {name: FakeSite(job, name, count) for name, count in cases.items()}
        self.asked: list[Question] = []
        self.now = 0.0
        self.dead: set[str] = set()
        self.behaviours = dict(behaviours or {})
        self._order = order

    def clock(self) -> float:
        """Seconds that pass while the server waits."""
        return self.now

    def connected(self) -> list[str]:
        """The names of the sites."""
        return sorted(self.sites)

    def silent(self) -> Collection[str]:
        """The sites that are dead."""
        return self.dead

    def ask(
        self, questions: Sequence[Question], receive: Callable[[Answer], None], is_over: Callable[[], bool]
    ) -> None:
        """Have the sites answer in the order of arrival, then let time pass until the round is over."""
        self.asked += questions
        question_of = {site: question for question in questions for site in question.sites}
        for name in self._order(sorted(question_of)):
            answer = self._answer(name, question_of[name])
            if answer and not is_over():
                receive(answer)
        while not is_over():
            self.now += 1.0

    def _answer(self, name: str, question: Question) -> Answer | None:
        answer = self.sites[name].answer(question)
        if question.task == messages.PREPARE or name not in self.behaviours:
            return answer
        return self.behaviours[name](question, answer)
