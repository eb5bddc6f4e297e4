"""A cross-validation: the same job once for each fold, each into a run folder of its own."""

from __future__ import annotations

import re
from pathlib import Path

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.run_folder import refuse_run


def parse_folds(text: str) -> list[int]:
    """Return the folds that ``text`` names: ``0-4``, ``0,2`` or both.

    Raises:
        FedSwinError: if it names none.
    """
    folds: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not found:
            raise FedSwinError(f"--folds {text}: expected numbers from 0, such as 0-4 or 0,2.")
        folds.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    if not folds:
        raise FedSwinError(f"--folds {text}: the first number must not be above the last.")
    return sorted(folds)


def plan_runs(job: Job, folds: str | None, out: Path, *, overwrite: bool) -> dict[Path, Job]:
    """Return what to run where: ``job`` into ``out``, or for each fold into ``out/fold<number>``.

    Args:
        job: the job.
        folds: which of the job's ``data.folds`` to run, as `parse_folds` reads it; ``None`` for no cross-validation.
        out: the run folder, or the folder of the folds; those of an earlier call stay beside those of this one.
        overwrite: allow that runs that are there are replaced, or gone on with.

    Raises:
        FedSwinError: if there is no such fold, or a run may not be written.
    """
    runs = {out: job} if folds is None else {out / f"fold{fold}": _of_fold(job, fold) for fold in parse_folds(folds)}
    for folder in runs:
        refuse_run(folder, overwrite=overwrite)
    return runs


def is_resumed(run: Path, folds: str | None, *, resume: bool) -> bool:
    """Return whether ``run`` is gone on with; if ``resume``, those folds start that had not begun.

    Args:
        run: a run folder, as `plan_runs` returns it.
        folds: as for `plan_runs`.
        resume: whether the user wants to go on.
    """
    return resume and (folds is None or run.exists())


def _of_fold(job: Job, fold: int) -> Job:
    if fold >= job.data.folds:
        raise FedSwinError(f"--folds: {fold} is asked for, but there are {job.data.folds} (data.folds), from 0 on.")
    return job.changed("data", fold=fold)
