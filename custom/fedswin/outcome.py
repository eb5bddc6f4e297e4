"""How a study ended: ``outcome.json`` of a run folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fedswin.config import Job
from fedswin.durable import write_text_whole

OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """How a study ended, or how this part of it did.

    Attributes:
        ended: ``completed`` after all rounds; ``early_stopping`` once patience had run out; ``failed_rounds`` after too
            many in a row; ``segment`` when a person asked for it, so that the next job can start with other sites.
        round: the number of the last global model.
        message: one sentence for a person.
    """

    ended: Literal["completed", "early_stopping", "failed_rounds", "segment"]
    round: int
    message: str

    @property
    def is_final(self) -> bool:
        """Whether the study has come to its end as it should."""
        return self.ended in ("completed", "early_stopping")


def all_rounds_done(job: Job) -> Outcome:
    """Return how a study ended that has run all its rounds."""
    rounds = job.federation.rounds
    return Outcome("completed", rounds, f"All {rounds} rounds are done.")


def out_of_patience(job: Job, number: int) -> Outcome:
    """Return how a study ended at global model ``number``, since nothing better came."""
    patience = job.federation.selection.patience
    return Outcome("early_stopping", number, f"The last {patience} models were no better than the best.")


def write_outcome(run: Path, outcome: Outcome) -> None:
    """Write how the study in ``run`` ended."""
    write_text_whole(run / OUTCOME, f"{json.dumps(asdict(outcome), indent=2)}\n")


def read_outcome(run: Path) -> Outcome | None:
    """Return how the study in ``run`` ended, or ``None`` if it still runs or was cut off."""
    path = run / OUTCOME
    return Outcome(**json.loads(path.read_text())) if path.exists() else None


def is_finished(run: Path) -> bool:
    """Tell whether the study in ``run`` has come to its end as it should."""
    outcome = read_outcome(run)
    return outcome is not None and outcome.is_final


def forget_outcome(run: Path) -> None:
    """Remove how an earlier part of the study in ``run`` ended: it goes on."""
    (run / OUTCOME).unlink(missing_ok=True)
