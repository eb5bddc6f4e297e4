"""One run of an experiment: an encoder, a model that is fine-tuned from it, and the scores on its test cases."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from statistics import mean

import torch
from rich.console import Console

import fedswin
from fedswin.code_version import code_version
from fedswin.config import Job, load_job
from fedswin.data.datalist import read_site, site_folders
from fedswin.data.volume import volume_stem
from fedswin.errors import FedSwinError
from fedswin.evaluation import ALL
from fedswin.experiments.cells import Cell, finetuning_job, key_of, pretraining_job
from fedswin.experiments.learning import NOT_RECORDED, read_learning
from fedswin.experiments.plan import Plan
from fedswin.experiments.rows import Row
from fedswin.machine import machine
from fedswin.operations.evaluate import CaseScore, evaluate, matrix
from fedswin.operations.simulate import simulate
from fedswin.operations.train import train
from fedswin.outcome import is_finished
from fedswin.provenance import read_provenance
from fedswin.records import Record, attendance, read_records
from fedswin.run_folder import JOB
from fedswin.weights.file import resolve_weights

_LOCAL_PARTS = ("sites", "state", "nvflare", "tensorboard")
_LOG = "log.txt"
_SCORES = ("dice", "hd", "hd95", "nsd", "missed")
_DIGITS = 8  # of a commit


def pretrain(plan: Plan, cell: Cell, sites: Path, out: Path, gpus: Sequence[int] = ()) -> None:
    """Pre-train the cell's encoder into the run folder ``out``, or go on with it.

    Args:
        plan: the plan.
        cell: the cell; not one from scratch.
        sites: the folder of the cell's sites.
        out: the run folder.
        gpus: numbers of the GPUs that the sites of a federation share.

    Raises:
        FedSwinError: as `simulate` and `train`, or if a site missed a round.
    """
    job = pretraining_job(plan, cell)
    if cell.arm == "federated":
        _simulate(job, sites, list(site_folders(sites)), out, gpus=gpus)
    elif cell.arm == "central":
        _train(job, sites, out, pool=True)
    else:
        _train(job, sites / (plan.settings.pretraining.local or min(site_folders(sites))), out)


def finetune(plan: Plan, cell: Cell, sites: Path, encoder: Path | None, out: Path, gpus: Sequence[int] = ()) -> Row:
    """Fine-tune into ``out``, or go on with it, score the last model on the test cases, and return the row.

    The sites with labelled training cases are fine-tuned as a federation; one alone is trained without.

    Args:
        plan: the plan.
        cell: the cell.
        sites: the folder of the cell's sites.
        encoder: the run folder of pre-training; ``None`` from scratch.
        out: the run folder.
        gpus: numbers of the GPUs that the sites of a federation share.

    Raises:
        FedSwinError: as `simulate`, `train` and `evaluate`, or if a site missed a round.
    """
    job, init = finetuning_job(plan, cell), resolve_weights(encoder, "last") if encoder else None
    training = [name for name, folder in site_folders(sites).items() if read_site(folder).cases("training")]
    if len(training) > 1:
        _simulate(job, sites, training, out, init=init, gpus=gpus)
    else:
        _train(job, sites / training[0], out, init=init)
    results = evaluate([resolve_weights(out, "last")], sites)
    for part in _LOCAL_PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    verdict, figures = read_learning(encoder) if encoder else (NOT_RECORDED, {})
    area = dice_area(read_records(out))
    figures |= {} if area is None else {"dice_area": area}
    measures = {**figures, **_costs(encoder, "pretraining"), **_costs(out, "finetuning")}
    alone = next(iter(read_provenance(encoder)["sites"])) if encoder and cell.arm == "local" else ""
    return _row(plan, cell, results, measures, {"alone": alone, "encoder": verdict, **_software_and_machine()})


def dice_area(records: Sequence[Record]) -> float | None:
    """Return the area under the validation Dice of a run by optimizer step, with the length of the run as 1.

    It is by the trapezoidal rule over the models that were scored, which lie as many steps apart each. A run whose
    models are as good from the start as in the end has that Dice as its area.

    Args:
        records: the lines of its ``metrics.jsonl``.

    Returns:
        ``None`` if a model was not scored on validation cases.
    """
    dice = [record["global"].get("dice") for record in records]
    return None if len(dice) < 2 or None in dice else mean((one + other) / 2 for one, other in pairwise(dice))


def _row(
    plan: Plan, cell: Cell, results: Sequence[CaseScore], measures: Mapping[str, float], about: Mapping[str, str]
) -> Row:
    [scores] = matrix(results).values()
    names = plan.tasks[cell.task].segmentation.classes
    sites = {site: values["dice"] for site, values in scores.items() if site != ALL and "dice" in values}
    worst = {"worst_site_dice": min(sites.values())} if sites else {}
    return Row(
        key_of(plan, cell),
        cell,
        {**{name: scores[ALL][name] for name in _SCORES if name in scores[ALL]}, **worst, **measures},
        {name: scores[ALL][f"dice_{name}"] for name in names if len(names) > 1 and f"dice_{name}" in scores[ALL]},
        sites,
        _of_cases(results, "dice"),
        {**about, "finished": datetime.now(timezone.utc).isoformat(timespec="minutes")},
        _of_cases(results, "hd95"),
        _of_cases(results, "nsd"),
    )


def _of_cases(results: Sequence[CaseScore], metric: str) -> dict[str, float]:
    """Return the score of each case that has one, named ``<site>/<case>``."""
    scores = {f"{result.site}/{volume_stem(Path(result.case))}": result.scores[metric] for result in results}
    return {name: value for name, value in scores.items() if value is not None}


def _software_and_machine() -> dict[str, str]:
    commit, _, dirty = (code_version()["commit"] or "").partition("-")
    code = f"{commit[:_DIGITS]}{'-dirty' if dirty else ''}" if commit else fedswin.__version__
    here = machine()
    return {
        "code": code,
        "torch": torch.__version__,
        "machine": f"{here['cores']} cores, {here['gpu'] or here['processor']}, {here['system']}",
    }


def _simulate(
    job: Job, sites: Path, training: Sequence[str], out: Path, *, init: Path | None = None, gpus: Sequence[int] = ()
) -> None:
    """Train as a federation of the sites in ``training``, in which every one takes part in every round."""
    if not is_finished(out):
        with _told(out) as console:
            whole = job.changed("federation", sites=list(training), min_sites=len(training))
            simulate(whole, sites, out, init=init, gpus=gpus, resume=(out / JOB).exists(), console=console)
    _refuse_gaps(out)


def _train(job: Job, sites: Path, out: Path, *, pool: bool = False, init: Path | None = None) -> None:
    if not is_finished(out):
        with _told(out) as console:
            train(job, sites, out, pool=pool, init=init, resume=(out / JOB).exists(), console=console)


@contextmanager
def _told(out: Path) -> Iterator[Console]:
    """Give a console that writes beside the run, so that the screen is left to the experiment."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not (out / JOB).exists():  # cut off before it had begun
        shutil.rmtree(out, ignore_errors=True)
    path = out.with_name(f"{out.name}.{_LOG}")
    with path.open("a") as file:
        try:
            yield Console(file=file, highlight=False, soft_wrap=True, width=120)
        except FedSwinError as error:
            raise FedSwinError(f"{error}\nThe run's log is {path}.") from None
        except Exception:
            traceback.print_exc(file=file)
            raise


def _refuse_gaps(run: Path) -> None:
    """Raise if a site missed a round: its model is not what the plan asks for."""
    for record in read_records(run):
        told = attendance(record)
        absent = [*told["refused"], *told["late"], *told["missing"]]
        if absent or record["status"] == "failed":
            raise FedSwinError(
                f"{run}: {', '.join(absent) or 'a site'} missed round {record['round']}, so that this is no run of the "
                "plan. Delete this folder, and start again."
            )


def _costs(run: Path | None, what: str) -> dict[str, float]:
    """Return the cases, the optimizer steps of the model, the sub-volumes, and what a site sent and got in a round."""
    if run is None:
        return {f"{what}_cases": 0, f"{what}_steps": 0, f"{what}_samples": 0}
    batch = load_job(run / JOB).trainer.batch_size
    rounds = [list(record["sites"].values()) for record in read_records(run)[1:]]
    steps = [[site.get("steps") or 0 for site in sites] for sites in rounds]
    traffic = [site["bytes_up"] + site["bytes_down"] for sites in rounds for site in sites if site.get("bytes_up")]
    costs: dict[str, float] = {
        f"{what}_cases": sum(site.get("cases") or 0 for site in rounds[-1]),
        f"{what}_steps": sum(map(max, steps)),
        f"{what}_samples": sum(map(sum, steps)) * batch,
    }
    return costs | ({f"{what}_megabytes_per_round": mean(traffic) / 1e6} if traffic else {})
