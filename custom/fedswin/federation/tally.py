"""What the answers of one round come to: updates taken into the rule, updates refused, scores."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from fedswin.config import Job
from fedswin.federation.aggregation.sketch import Sketch, cosine
from fedswin.federation.global_model import Added, GlobalModel
from fedswin.federation.refusal import UpdateRefusedError
from fedswin.federation.round import Round
from fedswin.federation.sites import Answer
from fedswin.pretraining.verdict import is_plausible
from fedswin.records import Record
from fedswin.scalars import is_count, is_number

_REPORTED = ("cases", "steps", "seconds", "voxels", "memory", "bytes_up", "bytes_down")

log = logging.getLogger(__name__)


class Tally:
    """Takes the answers of one round, one at a time; an update is read, judged, added and forgotten.

    Args:
        job: the job.
        model: the global model that the sites were sent, to which their updates are added.
        current: the round.
        trainers: the sites that were asked to train; the others only score.
        received: the round of the last update that came of each site in time.

    Attributes:
        reports: what each site whose update was accepted says of its training.
        scores: each site's metrics of the global model that it was sent.
        refused: the sites whose update was not taken, with the reason.
        late: the sites whose update of an earlier round came too late, and was dropped.
        holders: the sites that hold the global model of this round now.
        leaving: the sites that asked to be left out.
    """

    def __init__(
        self,
        job: Job,
        model: GlobalModel,
        current: Round,
        trainers: Collection[str],
        received: Mapping[str, int],
    ) -> None:
        self._job = job
        self._model = model
        self._round = current
        self._trainers = set(trainers)
        self._received = received
        self._norms: dict[str, float] = {}
        self._sketches: dict[str, Sketch] = {}
        self.reports: dict[str, Record] = {}
        self.scores: dict[str, Record] = {}
        self.refused: dict[str, str] = {}
        self.late: list[Record] = []
        self.holders: set[str] = set()
        self.leaving: set[str] = set()

    @property
    def norms(self) -> list[float]:
        """The norms of the accepted updates, in the order of the sites' names."""
        return [self._norms[site] for site in sorted(self._norms)]

    @property
    def missing(self) -> list[str]:
        """The sites that have not answered."""
        return self._round.missing

    def compare(self, step: Sketch) -> None:
        """Report how far each accepted update points the way that the global model has gone.

        Args:
            step: of the step to the next global model.
        """
        for site, sketch in self._sketches.items():
            self.reports[site]["cosine"] = cosine(sketch, step)

    def close(self) -> None:
        """Report how long each site has waited for the round to end."""
        for site, seconds in self._round.waited().items():
            if site in self.reports:
                self.reports[site]["waiting"] = round(seconds, 3)

    def receive(self, answer: Answer) -> None:
        """Take one site's answer; a second one of the same site is left out."""
        if answer.site not in self._round.missing:
            return
        if answer.previous > self._received.get(answer.site, -1):
            self.late.append({"site": answer.site, "round": answer.previous})
        if answer.metrics or not answer.error:  # a site that fails in training has scored the model before
            self.scores[answer.site] = self._score(answer)
        if answer.error:
            self._refuse(answer.site, answer.error)
            if answer.leaves:
                self.leaving.add(answer.site)
        else:
            self.holders.add(answer.site)
            if answer.site in self._trainers:
                self._add_update(answer)
        self._round.note(answer.site, good=answer.site in (self.reports if self._trainers else self.scores))

    def _add_update(self, answer: Answer) -> None:
        cases, steps = answer.report.get("cases"), answer.report.get("steps")
        try:
            added = self._model.add(answer.read(), cases, steps)
        except UpdateRefusedError as reason:
            self._refuse(answer.site, str(reason))
        else:
            self._norms[answer.site], self._sketches[answer.site] = added.norm, added.sketch
            self.reports[answer.site] = self._report(answer, added)

    def _refuse(self, site: str, reason: str) -> None:
        log.warning("The update of %s is refused: %s", site, reason)
        self.refused[site] = reason

    def _score(self, answer: Answer) -> Record:
        told_metrics = _numbers(answer.metrics, self._job.reported)
        metrics = {name: value for name, value in told_metrics.items() if is_plausible(name, value)}
        told = answer.report.get("validation_cases")
        cases = told if is_count(told) else 0
        counts = _numbers(answer.report.get("scored"), metrics)
        scored = {name: int(count) for name, count in counts.items() if 0 < count < cases}
        score = {"metrics": metrics, "validation_cases": cases}
        return {**score, "scored": scored} if scored else score

    def _report(self, answer: Answer, added: Added) -> Record:
        """Return what is recorded of a site's training: numbers under known names, whatever it sent."""
        train = _numbers(answer.report.get("train"), self._job.training_scalars)
        return {"weight": added.weight, "train": train, **_numbers(answer.report, _REPORTED), "norm": added.norm}


def _numbers(values: Any, known: Collection[str]) -> dict[str, Any]:
    """Return the numbers among ``values``, of those that are known by name."""
    items = values.items() if isinstance(values, Mapping) else ()
    return {name: value for name, value in items if name in known and is_number(value)}
