"""A cross-validation: the same command once for each fold, each into a run folder of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
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


def run_folds(job: Job, folds: list[int], out: Path, *, overwrite: bool, run: Callable[[Job, Path], None]) -> None:
    """Run ``job`` for each fold into ``out/fold<number>``.

    Args:
        job: the job.
        folds: which of the job's ``data.folds`` to run.
        out: the folder of the run folders; folds of an earlier call stay beside those of this one.
        overwrite: replace folds that are there.
        run: runs a job into a run folder.

    Raises:
        FedSwinError: if a fold is there, before any is run; or as ``run`` does.
    """
    if folds[-1] >= job.data.folds:
        raise FedSwinError(
            f"--folds: {folds[-1]} is asked for, but there are {job.data.folds} (data.folds), from 0 on."
        )
    runs = {fold: out / f"fold{fold}" for fold in folds}
    for folder in runs.values():
        refuse_run(folder, overwrite=overwrite)
    for fold, folder in runs.items():
        run(job.model_copy(update={"data": job.data.model_copy(update={"fold": fold})}), folder)
