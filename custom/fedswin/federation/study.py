"""The server's side of a study: who is asked what, what is recorded, when it ends. Free of NVFlare.

In round r the sites score global model r and train it; of their updates comes global model r + 1. So the score of a
model is known one task later, the last model gets a task of its own, and every global model from 0 to R has a line in
``metrics.jsonl``. The state is written after a model is made and before it is sent: whatever dies later, the study
goes on with that model.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.federation.exchange import Download
from fedswin.federation.global_model import GlobalModel
from fedswin.federation.round import Clock, Round
from fedswin.federation.sites import Answer, Question, Sites
from fedswin.federation.state import StateFolder
from fedswin.federation.tally import Tally
from fedswin.outcome import Outcome, all_rounds_done, forget_outcome, out_of_patience, write_outcome
from fedswin.provenance import holdings, read_provenance, update_provenance
from fedswin.records import Record, read_records, round_record
from fedswin.run_folder import RunFolder
from fedswin.seeds import generator
from fedswin.status import Doing, StatusFile

STATE = "state"
"""The folder of the server's state, in the study's folder."""

log = logging.getLogger(__name__)


class Study:
    """Runs the rounds of a study, from the initial model or from where an earlier process was stopped.

    Args:
        job: the job.
        folder: the study's folder: a run folder, with the server's state beside it.
        sites: the sites.
        initial: the parameters of global model 0; needed where there is no state.
        clock: monotonic seconds.

    Attributes:
        first_round: the first that this process runs.
        curves: where the curves of the sites are drawn, too.

    Raises:
        FedSwinError: if there is neither a state nor an initial model, or the state is of another job.
    """

    def __init__(
        self,
        job: Job,
        folder: Path,
        sites: Sites,
        initial: Mapping[str, Tensor] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._job = job
        self._folder = folder
        self._sites = sites
        self._clock = clock
        self._states = StateFolder(folder / STATE)
        self._number = 0
        self._made: Record = {"status": "initial", "sites": {}}  # how global model ``number`` came about
        self._model = self._take_up(initial)
        self.first_round = self._number
        self._run = RunFolder(folder, job, first_round=self.first_round)
        self.curves = self._run.curves
        self._run.save_last(self._model.published, self._number)
        scored = read_records(folder)
        self._score: Record = scored[-1]["global"] if scored else {}
        self._failed_rounds = 0  # in a row
        self._active: set[str] = set()
        self._held: dict[str, int] = {}  # the version of the global model that a site holds
        refused = self._made.get("refused", ())
        self._reasons = {entry["site"]: entry["reason"] for entry in refused}  # why a site's last update was refused
        self._noted: set[str] = set()  # the sites that have said what cases they have
        self._received: dict[str, int] = {}  # the round of the last update that came of each site, in time
        self._segment_ends = threading.Event()
        self._status = StatusFile(folder)
        forget_outcome(folder)

    @property
    def steps(self) -> dict[str, tuple[int, int, float]]:
        """How far each site is that trains and tells: steps made of the round, steps in all, and the newest loss."""
        count = self._job.federation.local_steps
        newest = {site: (step - self._number * count, loss) for site, (step, loss) in self.curves.newest().items()}
        return {site: (step + 1, count, loss) for site, (step, loss) in newest.items() if 0 <= step < count}

    def end_segment(self) -> None:
        """End after the round that is under way, so that another job can go on with the sites connected then."""
        self._segment_ends.set()

    def run(self) -> Outcome:
        """Run rounds until the study ends, and return how it did.

        Raises:
            FedSwinError: if too few sites can take part.
            StudyAbortedError: if the job is aborted; the study can be resumed.
        """
        self._enrol()
        outcome = None
        while not outcome:
            outcome = self._run_round()
        write_outcome(self._folder, outcome)
        log.info(outcome.message)
        return outcome

    def _take_up(self, initial: Mapping[str, Tensor] | None) -> GlobalModel:
        """Return the model of the newest state, or the initial one."""
        found = self._states.load()
        if not found:
            if initial is None:
                raise FedSwinError("The server holds no state of this study. Was it deleted? Start the study anew.")
            model = GlobalModel(self._job, initial)
            self._states.save(0, self._state(model))
            return model
        self._number, state = found
        if state["job_sha256"] != self._job.digest:
            raise FedSwinError("The study was started with another job. Resume it with its own job file.")
        self._made = state["made"]
        return GlobalModel.from_state(self._job, state["model"])

    def _state(self, model: GlobalModel) -> dict[str, Any]:
        return {"job_sha256": self._job.digest, "made": self._made, "model": model.state_dict()}

    def _enrol(self) -> None:
        """Let every site get ready; those that say that they cannot take part are asked no more."""
        self._active = set(self._sites.connected())
        current = Round(self._active, self._job.federation, self._clock)
        validation_cases: list[object] = []
        held: dict[str, Record] = {}

        def receive(answer: Answer) -> None:
            if answer.error:
                log.warning("%s does not take part: %s", answer.site, answer.error)
                self._active.discard(answer.site)
            else:
                held[answer.site] = holdings(self._job, answer.report)
            validation_cases.append(answer.report.get("validation_cases"))
            self._status.answered(answer.site, "gone" if answer.error else "waiting")
            current.note(answer.site, good=not answer.error)

        self._status.prepare(self._number, sorted(self._active))
        self._ask([Question(sorted(self._active), messages.PREPARE)], receive, current)
        if not current.has_quorum:
            raise FedSwinError(
                f"{current.good} sites can take part, and federation.min_sites is {self._job.federation.min_sites}. "
                "The server's log says which sites do not, each site's own log says why."
            )
        self._note_sites(held)
        if not any(validation_cases):
            log.warning("No site has a validation case, so no model is scored, and the newest counts as the best.")

    def _note_sites(self, held: Mapping[str, Record]) -> None:
        """Add to the provenance what sites say of their cases."""
        known = read_provenance(self._folder).get("sites", {})
        update_provenance(self._folder, sites=dict(sorted({**known, **held}.items())))
        self._noted |= held.keys()

    def _run_round(self) -> Outcome | None:
        """Have global model r scored and trained, record it, and make the next; return the outcome if that was all."""
        last = self._number == self._job.federation.rounds
        tally = self._play([] if last else self._sample())
        self._record(tally.scores)
        if last:
            return all_rounds_done(self._job)
        if self._run.selection.should_stop:
            return out_of_patience(self._job, self._number)
        self._make_next(tally)
        if self._failed_rounds == self._job.federation.max_failed_rounds:
            self._record({})
            return Outcome("failed_rounds", self._number, self._why_failed())
        if self._segment_ends.is_set():
            return Outcome("segment", self._number, f"Ended after round {self._number}, so that another job can go on.")
        return None

    def _play(self, trainers: Sequence[str]) -> Tally:
        """Send the global model to every site, to train or only to score it, and take the answers."""
        current = Round(self._active, self._job.federation, self._clock)
        tally = Tally(self._job, self._model, current, trainers, self._received)
        newcomers: dict[str, Record] = {}  # they were not ready in time, and train all the same
        self._model.start_round()
        self._status.begin(self._number, self._asked_for(trainers))

        def receive(answer: Answer) -> None:
            tally.receive(answer)
            if answer.site in tally.reports and answer.site not in self._noted:
                newcomers[answer.site] = holdings(self._job, answer.report)
            how: Doing = "refused" if answer.site in tally.refused else "waiting"
            self._status.answered(answer.site, "gone" if answer.site in tally.leaving else how)

        self._ask(self._questions(trainers), receive, current)
        tally.close()
        if newcomers:
            self._note_sites(newcomers)
        self._reasons = tally.refused
        self._held = dict.fromkeys(tally.holders, self._model.version)
        in_time = tally.holders.intersection(trainers)  # with those whose update was refused: it did come
        self._received.update({entry["site"]: entry["round"] for entry in tally.late})  # or it is late again and again
        self._received.update(dict.fromkeys(in_time, self._number))
        for site in tally.leaving:
            log.warning("%s is left out from now on: it failed too often", site)
        self._active -= tally.leaving
        return tally

    def _ask(self, questions: Sequence[Question], receive: Callable[[Answer], None], current: Round) -> None:
        def is_over() -> bool:
            silent = self._sites.silent()
            self._status.silent(silent)
            return current.is_over(silent)

        self._sites.ask(questions, receive, is_over)
        self._status.end_round()

    def _asked_for(self, trainers: Sequence[str]) -> dict[str, Doing]:
        return {site: "training" if site in trainers else "scoring" for site in sorted(self._active)}

    def _questions(self, trainers: Sequence[str]) -> list[Question]:
        """Return what the sites are asked; those that are asked and sent the same are asked together."""
        groups: dict[tuple[str, bool, str], list[str]] = {}
        downloads: dict[bool, Download] = {}
        for site in sorted(self._active):
            task = messages.TRAIN if site in trainers else messages.VALIDATE
            download = self._model.download_for(self._held.get(site))
            downloads[download.whole] = download
            groups.setdefault((task, download.whole, self._reasons.get(site, "")), []).append(site)
        return [
            Question(sites, task, self._number, downloads[whole], refused)
            for (task, whole, refused), sites in groups.items()
        ]

    def _sample(self) -> list[str]:
        """Draw the sites that train in this round."""
        sites, count = sorted(self._active), self._job.federation.sample
        if count == "all" or count >= len(sites):
            return sites
        rng = generator(self._job.seed, "sample", self._number)
        return [str(site) for site in rng.choice(sites, count, replace=False)]

    def _make_next(self, tally: Tally) -> None:
        """Make the next global model, or keep this one if too few updates came; then it is safe on disk."""
        needed, status = self._job.federation.min_sites, "ok"
        if len(tally.reports) >= needed:
            tally.compare(self._model.advance(tally.norms))
            self._failed_rounds = 0
        else:
            log.error("Round %d failed: %d updates, %d needed", self._number + 1, len(tally.reports), needed)
            status = "failed"
            self._failed_rounds += 1
        self._made = {
            "status": status,
            "sites": dict(sorted(tally.reports.items())),
            "refused": [{"site": site, "reason": reason} for site, reason in sorted(tally.refused.items())],
            "late": tally.late,
            "missing": tally.missing,
        }
        self._number += 1
        self._states.save(self._number, self._state(self._model))
        self._run.save_last(self._model.published, self._number)

    def _record(self, scores: Mapping[str, Record]) -> None:
        """Write the line about this global model: how it was made, and how the sites score it."""
        reports: Mapping[str, Record] = self._made["sites"]
        sites = {name: {**reports.get(name, {}), **scores.get(name, {})} for name in sorted({*reports, *scores})}
        record = round_record(self._number, **{**self._made, "sites": sites})
        if record["status"] == "failed":
            record["global"] = self._score  # of the model of the round before, which it is
        self._score = record["global"]
        if note := self._run.close_round(record, self._model.published):
            log.info(note)

    def _why_failed(self) -> str:
        """Say why the last round failed."""
        refused = [f"{entry['site']}: {entry['reason']}" for entry in self._made["refused"]]
        missing = [f"{site}: no answer" for site in self._made["missing"]]
        return (
            f"{self._failed_rounds} rounds in a row had fewer than {self._job.federation.min_sites} updates. "
            f"In the last one: {'; '.join([*refused, *missing]) or 'no site took part'}. "
            "The last good model is kept; put that right and resume."
        )
