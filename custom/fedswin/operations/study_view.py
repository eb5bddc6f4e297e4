"""How far a study is, in numbers: what `fedswin.operations.study_table` shows to people, and scripts get as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fedswin.config import Job
from fedswin.pretraining.verdict import Learning, judge_record, judge_site, warning_text
from fedswin.records import Record
from fedswin.status import Status

_STANDING = ("sent", "late", "refused", "gone")
"""What a site still is when the study does not run any more."""


class Step(NamedTuple):
    """How far a site is in a round that it trains: steps made, steps in all, and the loss of the newest."""

    made: int
    of: int
    loss: float | None


class Best(NamedTuple):
    """The best global model so far: its round, and its value of the metric that picks it."""

    round: int
    value: float


@dataclass(frozen=True)
class SiteView:
    """How far a site is.

    Attributes:
        name: the site.
        state: one of `fedswin.status.Doing`; empty if it is not known.
        seconds: how long it has been that; ``None`` if that is not known.
        step: how far it is in the round, if it trains and that is known.
        losses: its mean training loss of each round, then that of the newest step.
        scores: its values of the metric that picks the best model.
        bytes_up: what it has sent in this study.
        bytes_down: what it was sent.
        learning: whether the newest global model that it scored learns on its cases; ``None`` if that is not known.
    """

    name: str
    state: str
    seconds: float | None
    step: Step | None
    losses: Sequence[float]
    scores: Sequence[float]
    bytes_up: int
    bytes_down: int
    learning: Learning | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, of each curve the last one."""
        return {
            "state": self.state or None,
            "seconds": self.seconds,
            "step": self.step and self.step.made,
            "steps": self.step and self.step.of,
            "loss": self.losses[-1] if self.losses else None,
            "score": self.scores[-1] if self.scores else None,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "learning": self.learning and self.learning.as_dict(),
        }


@dataclass(frozen=True)
class StudyView:
    """How far a study is.

    Attributes:
        job: the job; ``None`` before it has started.
        records: a line for each scored global model.
        status: what the sites do; ``None`` before the study has begun.
        ended: how the study ended, in a sentence; empty while it runs.
        waiting: what is waited for, before it has started.
        steps: how far each site is that trains.
        now: seconds since 1970, by the clock of the status.
        best_round: the round of the model in ``best.pt``; ``None`` if the study does not say it, as older ones do not.
    """

    job: Job | None
    records: Sequence[Record]
    status: Status | None
    ended: str
    waiting: str = ""
    steps: Mapping[str, Step] = field(default_factory=dict)
    now: float = 0.0
    best_round: int | None = None

    @property
    def round(self) -> int:
        """The round that is under way, from 1; of a study that has ended, the last one that was made."""
        scored = max((record["round"] for record in self.records), default=0)
        if self.ended or not self.status or not self.job:
            return scored
        return min(self.status.round + 1, self.job.federation.rounds)

    @property
    def scores(self) -> dict[int, float]:
        """The value of each global model in the metric that picks the best, where it has one."""
        metric = self.job.key_metric[0] if self.job else ""
        values = {record["round"]: record["global"].get(metric) for record in self.records}
        return {number: value for number, value in values.items() if value is not None}

    @property
    def best(self) -> Best | None:
        """The best global model so far, if any has been scored."""
        if not self.job or not (scores := self.scores):
            return None
        choose = min if self.job.key_metric[1] == "min" else max
        noted = self.best_round
        number = noted if noted in scores else choose(scores, key=lambda key: scores[key])
        return Best(number, scores[number])

    @property
    def learning(self) -> Learning | None:
        """Whether the newest global model that was scored learns; ``None`` if that is not known."""
        found = (judge_record(self.job, record) for record in reversed(self.records)) if self.job else iter(())
        return next((learning for learning in found if learning), None)

    @property
    def warning(self) -> str:
        """What is wrong with the newest global model of a pre-training; empty if nothing is."""
        return warning_text(self.job, self.records[-1]) if self.job and self.records else ""

    @property
    def seconds_elapsed(self) -> float | None:
        """For how long the study has run since it was started or resumed, if that is known."""
        if not self.status or self.status.started is None:
            return None
        until = max(self.status.since.values(), default=None) if self.ended else self.now
        return None if until is None else max(0.0, until - self.status.started)

    @property
    def seconds_left(self) -> float | None:
        """How long the rounds that are left take, if that can be told: as the rounds before, or as far as this is."""
        if self.ended or not self.job or not self.status:
            return None
        rounds = self.job.federation.rounds - self.status.round
        running = max(0.0, self.now - self.status.began) if self.status.began is not None else None
        done = min((self._share(name) for name, how in self.status.sites.items() if how == "training"), default=0.0)
        if rounds <= 0:
            return None
        if (whole := self.status.round_seconds) is not None:
            made = done * whole if running is None else running
            return max(0.0, whole - made) + (rounds - 1) * whole
        return running * (rounds / done - 1) if running is not None and done > 0 else None

    @property
    def sites(self) -> list[SiteView]:
        """How far each site is, by name."""
        doing = self.status.sites if self.status else {}
        names = {*doing, *(name for record in self.records for name in record["sites"])}
        return [self._site(name, doing.get(name, "")) for name in sorted(names)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "job": self.job and self.job.name,
            "rounds": self.job and self.job.federation.rounds,
            "round": self.round,
            "ended": self.ended or None,
            "seconds_elapsed": self.seconds_elapsed,
            "seconds_left": self.seconds_left,
            "metric": self.job and self.job.key_metric[0],
            "best": self.best and self.best._asdict(),
            "learning": self.learning and self.learning.as_dict(),
            "sites": {site.name: site.as_dict() for site in self.sites},
            "records": list(self.records),
        }

    def _share(self, site: str) -> float:
        step = self.steps.get(site)
        return step.made / step.of if step else 0.0

    def _site(self, name: str, state: str) -> SiteView:
        metric = self.job.key_metric[0] if self.job else ""
        lines = [record["sites"][name] for record in self.records if name in record["sites"]]
        step = None if self.ended else self.steps.get(name)
        losses = [(line.get("train") or {}).get("loss") for line in lines] + [step and step.loss]
        scores = [(line.get("metrics") or {}).get(metric) for line in lines]
        found = (judge_site(self.job, line) for line in reversed(lines)) if self.job else iter(())
        since = self.status.since.get(name) if self.status else None
        return SiteView(
            name,
            state if not self.ended or state in _STANDING else "",
            None if since is None or self.ended else max(0.0, self.now - since),
            step,
            [loss for loss in losses if loss is not None and math.isfinite(loss)],
            [score for score in scores if score is not None],
            sum(line.get("bytes_up") or 0 for line in lines),
            sum(line.get("bytes_down") or 0 for line in lines),
            next((learning for learning in found if learning), None),
        )


Source = Callable[[], StudyView]
"""Returns how far the study is now."""
