"""Run folders made by hand, without training: each number is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from end_to_end import tiny
from fedswin.config import Job
from fedswin.outcome import Outcome, write_outcome
from fedswin.provenance import read_provenance, write_provenance
from fedswin.records import Record, round_record
from fedswin.run_folder import RunFolder, write_job

CLASSES = {"liver": 6, "spleen": 1}
PRETRAIN = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 3, "local_steps": 10}})
FINETUNE = tiny.job(
    {**tiny.FINETUNE, "segmentation": {"classes": CLASSES}, "federation": {"rounds": 3, "local_steps": 10}}
)
TRAINED = {"weight": 4, "cases": 4, "steps": 10, "seconds": 30.0, "bytes_up": 2e6, "bytes_down": 1e6}


def site(dice: Mapping[str, float], validation_cases: int = 1, **trained: Any) -> Record:
    """Return a site's part of a record: the Dice of each class, and what it says of its training, if it trained."""
    metrics = {"dice": sum(dice.values()) / len(dice), **{f"dice_{name}": value for name, value in dice.items()}}
    return {"metrics": metrics, "validation_cases": validation_cases, **trained}


def trained(loss: float, **more: Any) -> Record:
    """Return what a site says of a round's training."""
    return {**TRAINED, "train": {"loss": loss, "gradient_norm": 1.0}, **more}


def three_sites() -> list[Record]:
    """Return the records of three rounds: the best model is of round 2, of which b does worst, and spleen is worst."""
    return [
        round_record(
            0, "initial", {"a": site({"liver": 0.1, "spleen": 0.0}), "b": site({"liver": 0.1, "spleen": 0.0})}
        ),
        round_record(
            1,
            "ok",
            {
                "a": site({"liver": 0.5, "spleen": 0.3}, **trained(2.0)),
                "b": site({"liver": 0.4, "spleen": 0.2}, **trained(2.2, seconds=50.0)),
            },
            missing=["c"],
        ),
        round_record(
            2,
            "ok",
            {
                "a": site({"liver": 0.9, "spleen": 0.7}, **trained(1.0)),
                "b": site({"liver": 0.8, "spleen": 0.4}, validation_cases=3, **trained(1.2)),
                "c": site({"liver": 0.9, "spleen": 0.8}),
            },
            refused=[{"site": "c", "reason": "the norm 12.0 is above <10> times the median"}],
            late=[{"site": "c", "round": 0}],
        ),
        round_record(3, "failed", {"a": site({"liver": 0.6, "spleen": 0.5}, **trained(0.9))}, missing=["b", "c"]),
    ]


def write_run(
    folder: Path,
    job: Job,
    records: Sequence[Record],
    *,
    ended: Outcome | None = None,
    command: str = "simulate",
    **provenance: Any,
) -> Path:
    """Write a run folder with the project's own writers."""
    run = RunFolder(folder, job)
    write_job(folder, job)
    for record in records:
        run.close_round(record, {})
    known = {"sites": ["a", "b", "c"], "finished": ended is not None, **read_provenance(folder), **provenance}
    write_provenance(folder, job, command, **known)
    if ended:
        write_outcome(folder, ended)
    return folder
