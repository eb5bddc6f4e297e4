"""Models by sites: how well each model segments each site's cases."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from fedswin.config import Job
from fedswin.data.datalist import Case, Site, read_site, site_folders
from fedswin.data.loading import Volumes
from fedswin.errors import FedSwinError
from fedswin.output import refuse_output, staged
from fedswin.segmentation.inference import predict_classes
from fedswin.segmentation.metrics import dice_by_class
from fedswin.tasks import build_model
from fedswin.training.memory import keep_freed_memory
from fedswin.training.scores import Score, mean_scores
from fedswin.training.trainer import make_deterministic, pick_device
from fedswin.weights.file import Weights, load_parameters, load_weights, resolve_weights

_MATRIX = "evaluation.json"


@dataclass(frozen=True)
class CaseScore:
    """The scores of one model on one case, in the model's resampled space."""

    model: str
    site: str
    case: str
    scores: dict[str, Score]


def refuse_evaluation(out: Path, *, overwrite: bool) -> None:
    """Make sure that an evaluation may be written to ``out``.

    Raises:
        FedSwinError: if it exists and ``overwrite`` is false, or it is something other than an evaluation.
    """
    refuse_output(out, overwrite=overwrite, kind="an evaluation", is_kind=lambda path: (path / _MATRIX).exists())


def evaluate(
    models: Sequence[Path],
    sites_dir: Path,
    *,
    split: str = "test",
    progress: Callable[[str], None] = lambda _: None,
) -> list[CaseScore]:
    """Score every model on every labelled case of ``split``, at all sites.

    Args:
        models: weights files or run folders (whose ``global/best.pt`` is taken), of ``finetune`` jobs.
        sites_dir: the folder of the site folders.
        split: ``test`` or ``validation``.
        progress: called with a line before each case.

    Raises:
        FedSwinError: if a model cannot be loaded or segments nothing, or there is no labelled case.
    """
    loaded = {name: _load(path) for name, path in zip(model_names(models), models, strict=True)}
    sites = [read_site(folder) for folder in site_folders(sites_dir).values()]
    cases = [(site, case) for site in sites for case in site.cases(split, labelled=True)]
    if not cases:
        raise FedSwinError(f"{sites_dir}: no case of the split '{split}' has a label, so there is nothing to score.")
    results = []
    for name, weights in loaded.items():
        results += _score_model(name, weights, cases, progress)
    return results


def model_names(models: Sequence[Path]) -> list[str]:
    """Name each model by its path below the folder that all share."""
    paths = [path.absolute() for path in models]
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(shared).as_posix() for path in paths]


def matrix(results: Sequence[CaseScore]) -> dict[str, dict[str, dict[str, float]]]:
    """Return ``{model: {site: {metric: mean over its cases}}}``, with the site ``all`` for all cases."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for model in dict.fromkeys(result.model for result in results):
        own = [result for result in results if result.model == model]
        sites = dict.fromkeys(result.site for result in own)
        table[model] = {site: mean_scores([r.scores for r in own if r.site == site]) for site in sites}
        table[model]["all"] = mean_scores([result.scores for result in own])
    return table


def render(results: Sequence[CaseScore]) -> Table:
    """Return the mean Dice of each model at each site as a table for the terminal."""
    rows = matrix(results)
    sites = list(dict.fromkeys(site for row in rows.values() for site in row))
    table = Table(title="Dice, mean over classes and cases", title_justify="left")
    table.add_column("model")
    for site in sites:
        table.add_column(site, justify="right")
    for model, row in rows.items():
        table.add_row(model, *(_number(row.get(site, {}).get("dice")) for site in sites))
    return table


def write_evaluation(results: Sequence[CaseScore], out: Path, **about: Any) -> None:
    """Write ``evaluation.json`` (the matrix) and ``cases.csv`` (a row for each case); all or nothing."""
    metrics = list(dict.fromkeys(metric for result in results for metric in result.scores))
    with staged(out) as folder, (folder / "cases.csv").open("w", newline="") as file:
        (folder / _MATRIX).write_text(json.dumps({**about, "models": matrix(results)}, indent=2) + "\n")
        writer = csv.writer(file)
        writer.writerow(["model", "site", "case", *metrics])
        for result in results:
            writer.writerow([result.model, result.site, result.case, *(result.scores.get(m) for m in metrics)])


def _load(path: Path) -> Weights:
    weights = load_weights(resolve_weights(path))
    if weights.job.task != "finetune":
        raise FedSwinError(f"{path} is the model of a '{weights.job.task}' job; only a segmentation can be evaluated.")
    return weights


def _score_model(
    name: str, weights: Weights, cases: Sequence[tuple[Site, Case]], progress: Callable[[str], None]
) -> list[CaseScore]:
    job = weights.job
    make_deterministic(job)
    keep_freed_memory()
    device = pick_device(job)
    model = build_model(job)
    load_parameters(model, weights.tensors, name)
    model.to(device).eval()
    results = []
    for site, case in cases:
        progress(f"{name} on {site.name}")
        results.append(CaseScore(name, site.name, case.image.name, _score_case(model, case, job, device)))
    return results


def _score_case(model: torch.nn.Module, case: Case, job: Job, device: torch.device) -> dict[str, Score]:
    item = Volumes([case], job)[0]
    predicted = predict_classes(model, item["image"], job, device)
    return dice_by_class(predicted, item["label"], list(job.segmentation.classes), case.annotation.annotated)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
