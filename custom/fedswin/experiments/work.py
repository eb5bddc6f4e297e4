"""One run of an experiment: an encoder, a model that is fine-tuned from it, and the scores on its test cases."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean

import torch
from rich.console import Console

import fedswin
from fedswin.code_version import code_version
from fedswin.config import Job, load_job
from fedswin.data.datalist import read_site, site_folders
from fedswin.data.volume import volume_suffix
from fedswin.evaluation import ALL
from fedswin.experiments.cells import Cell, finetuning_job, key_of, pretraining_job
from fedswin.experiments.plan import Plan
from fedswin.experiments.rows import Row
from fedswin.operations.evaluate import evaluate, matrix
from fedswin.operations.simulate import simulate
from fedswin.operations.train import train
from fedswin.outcome import read_outcome
from fedswin.run_folder import JOB, read_records

_LAST = Path("global", "last.pt")
_LOCAL_PARTS = ("sites", "state", "nvflare", "tensorboard")
_LOG = "log.txt"
_SCORES = ("dice", "hd95", "nsd", "missed")
_DIGITS = 8  # of a commit


def pretrain(plan: Plan, cell: Cell, sites: Path, out: Path) -> None:
    """Pre-train the cell's encoder into the run folder ``out``, or go on with it.

    Args:
        plan: the plan.
        cell: the cell; not one from scratch.
        sites: the folder of the cell's sites.
        out: the run folder.

    Raises:
        FedSwinError: as `simulate` and `train`.
    """
    job = pretraining_job(plan, cell)
    if cell.arm == "federated":
        _simulate(job, sites, out)
    elif cell.arm == "central":
        _train(job, sites, out, pool=True)
    else:
        _train(job, sites / (plan.settings.pretraining.local or min(site_folders(sites))), out)


def finetune(plan: Plan, cell: Cell, sites: Path, encoder: Path | None, out: Path) -> Row:
    """Fine-tune into ``out``, or go on with it, score the last model on the test cases, and return the row.

    The sites with labelled training cases are fine-tuned as a federation; one alone is trained without.

    Args:
        plan: the plan.
        cell: the cell.
        sites: the folder of the cell's sites.
        encoder: the run folder of pre-training; ``None`` from scratch.
        out: the run folder.

    Raises:
        FedSwinError: as `simulate`, `train` and `evaluate`.
    """
    started = time.monotonic()
    job, init = finetuning_job(plan, cell), encoder / _LAST if encoder else None
    training = [folder for folder in site_folders(sites).values() if read_site(folder).cases("training")]
    if len(training) > 1:
        _simulate(job, sites, out, init)
    else:
        _train(job, training[0], out, init=init)
    results = evaluate([out / _LAST], sites)
    [scores] = matrix(results).values()
    seconds = time.monotonic() - started
    for part in _LOCAL_PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    classes = job.segmentation.classes
    measures = {name: scores[ALL][name] for name in _SCORES if name in scores[ALL]}
    costs = {**_costs(encoder, "pretraining"), **_costs(out, "finetuning"), "seconds": seconds}
    return Row(
        key_of(plan, cell),
        cell,
        {**measures, **costs},
        {name: scores[ALL][f"dice_{name}"] for name in classes if len(classes) > 1 and f"dice_{name}" in scores[ALL]},
        {site: values["dice"] for site, values in scores.items() if site != ALL and "dice" in values},
        {f"{r.site}/{_stem(r.case)}": r.scores["dice"] for r in results if r.scores["dice"] is not None},
        {**software_and_machine(), "finished": datetime.now(timezone.utc).isoformat(timespec="minutes")},
    )


def software_and_machine() -> dict[str, str]:
    """Return what a row says of where it was made: ``code``, ``torch`` and ``machine``."""
    commit, _, dirty = (code_version()["commit"] or "").partition("-")
    code = f"{commit[:_DIGITS]}{'-dirty' if dirty else ''}" if commit else fedswin.__version__
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    return {"code": code, "torch": torch.__version__, "machine": machine}


def _simulate(job: Job, sites: Path, out: Path, init: Path | None = None) -> None:
    with _told(out) as console:
        simulate(job, sites, out, init=init, resume=(out / JOB).exists(), console=console)


def _train(job: Job, sites: Path, out: Path, *, pool: bool = False, init: Path | None = None) -> None:
    outcome = read_outcome(out)
    if outcome is None or not outcome.is_final:
        with _told(out) as console:
            train(job, sites, out, pool=pool, init=init, resume=(out / JOB).exists(), console=console)


@contextmanager
def _told(out: Path) -> Iterator[Console]:
    """Give a console that writes beside the run, so that the screen is left to the experiment."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not (out / JOB).exists():  # cut off before it had begun
        shutil.rmtree(out, ignore_errors=True)
    with out.with_name(f"{out.name}.{_LOG}").open("a") as file:
        yield Console(file=file, highlight=False, soft_wrap=True, width=120)


def _costs(run: Path | None, what: str) -> dict[str, float]:
    """Return the optimizer steps of the model, the sub-volumes that it saw, and what a site sent and got in a round."""
    if run is None:
        return {f"{what}_steps": 0, f"{what}_samples": 0}
    batch = load_job(run / JOB).trainer.batch_size
    rounds = [list(record["sites"].values()) for record in read_records(run)[1:]]
    steps = [[site.get("steps") or 0 for site in sites] for sites in rounds]
    traffic = [site["bytes_up"] + site["bytes_down"] for sites in rounds for site in sites if site.get("bytes_up")]
    costs: dict[str, float] = {
        f"{what}_steps": sum(map(max, steps)),
        f"{what}_samples": sum(map(sum, steps)) * batch,
    }
    return costs | ({f"{what}_megabytes_per_round": mean(traffic) / 1e6} if traffic else {})


def _stem(case: str) -> str:
    return case.removesuffix(volume_suffix(Path(case)))
