"""Models by sites: how well each model segments each site's cases."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nibabel.affines import voxel_sizes
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedswin.errors import FedSwinError
from fedswin.evaluation import ALL, CASES, MATRIX
from fedswin.operations.labelled_cases import LabelledCase, check_cases, labelled_cases
from fedswin.output import refuse_output, short_names, staged
from fedswin.segmentation.ensemble import Ensemble, load_ensemble
from fedswin.segmentation.inference import predict
from fedswin.segmentation.metrics import FAILURES, score
from fedswin.training.memory import keep_freed_memory
from fedswin.training.scores import Score, mean_scores
from fedswin.training.trainer import make_deterministic


@dataclass(frozen=True)
class CaseScore:
    """The scores of one model on one case, on the grid of the case's own files.

    Attributes:
        model: the model's name.
        site: the site's name.
        case: the image's file name.
        scores: as ``score`` returns them: Dice, HD and HD95 in mm, and NSD, of each class and their means.
        tolerances: the NSD's tolerance of each class, in mm.
    """

    model: str
    site: str
    case: str
    scores: dict[str, Score]
    tolerances: dict[str, float]


def refuse_evaluation(out: Path, *, overwrite: bool) -> None:
    """Make sure that an evaluation may be written to ``out``.

    Raises:
        FedSwinError: if it exists and ``overwrite`` is false, or it is something other than an evaluation.
    """
    refuse_output(out, overwrite=overwrite, kind="an evaluation", is_kind=lambda path: (path / MATRIX).exists())


def evaluate(
    models: Sequence[Path],
    sites_dir: Path,
    *,
    split: str = "test",
    progress: Callable[[str], None] = lambda _: None,
) -> list[CaseScore]:
    """Score every model on every labelled case of ``split``, at all sites, on each case's own grid.

    Only classes that were annotated in a case are scored there. A case without one has no score.

    Args:
        models: weights files, run folders or folders of folds, each an ensemble, of ``finetune`` jobs.
        sites_dir: the folder of the site folders, or a single one.
        split: ``test`` or ``validation``; the latter as the fold of the models has it.
        progress: called with a line before each case.

    Raises:
        FedSwinError: if a model cannot be loaded or segments nothing, the models are of several folds and ``split``
            is ``validation``, there is no labelled case, or a case cannot be used. Every case is read before the
            first is scored.
    """
    ensembles = {name: load_ensemble([path]) for name, path in zip(short_names(models), models, strict=True)}
    cases = labelled_cases(sites_dir, split, ensembles.values())
    check_cases(cases, [ensemble.job for ensemble in ensembles.values()], progress)
    results = []
    for name, ensemble in ensembles.items():
        scored = _score_model(name, ensemble, cases, progress)
        if not scored:
            problem = f"no case of the split '{split}' annotates a class that {name} segments"
            raise FedSwinError(f"{sites_dir}: {problem}, so there is nothing to score.")
        results += scored
    return results


def matrix(results: Sequence[CaseScore]) -> dict[str, dict[str, dict[str, float]]]:
    """Return ``{model: {site: {metric: mean over its cases}}}``, with the site ``all`` for all cases.

    ``missed`` and ``spurious`` are no means but numbers of organs: sums over the cases.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for model in dict.fromkeys(result.model for result in results):
        own = [result for result in results if result.model == model]
        sites = dict.fromkeys(result.site for result in own)
        table[model] = {site: _summary([r.scores for r in own if r.site == site]) for site in sites}
        table[model][ALL] = _summary([result.scores for result in own])
    return table


def render(results: Sequence[CaseScore]) -> Group:
    """Return Dice, HD, HD95 and NSD of each model at each site as tables for the terminal."""
    rows = matrix(results)
    distances = [("HD in mm", "hd", 1), ("HD95 in mm", "hd95", 1)]
    shown = [("Dice", "dice", 3), *distances, (f"NSD, tolerance {_tolerance(results)}", "nsd", 3)]
    return Group(*(_table(title, metric, rows, digits) for title, metric, digits in shown))


def write_evaluation(results: Sequence[CaseScore], out: Path, **about: Any) -> None:
    """Write ``evaluation.json`` (the matrix) and ``cases.csv`` (a row for each case); all or nothing.

    Args:
        results: the scores.
        out: the folder to write.
        about: further top-level keys of ``evaluation.json``, such as ``split``.
    """
    about["nsd_tolerance_mm"] = {result.model: result.tolerances for result in results}
    metrics = list(dict.fromkeys(metric for result in results for metric in result.scores))
    with staged(out) as folder, (folder / CASES).open("w", newline="") as file:
        (folder / MATRIX).write_text(json.dumps({**about, "models": matrix(results)}, indent=2) + "\n")
        writer = csv.writer(file)
        writer.writerow(["model", "site", "case", *metrics])
        for result in results:
            writer.writerow([result.model, result.site, result.case, *(result.scores.get(m) for m in metrics)])


def _score_model(
    name: str, ensemble: Ensemble, cases: Sequence[LabelledCase], progress: Callable[[str], None]
) -> list[CaseScore]:
    make_deterministic(ensemble.job)
    keep_freed_memory()
    results = []
    settings = ensemble.job.segmentation
    for case in (case for case in cases if case.annotation.annotated_classes(settings)):
        progress(f"{name} on {case.site}")
        scores = _score_case(ensemble, case)
        results.append(CaseScore(name, case.site, case.image.name, scores, settings.tolerances))
    return results


def _score_case(ensemble: Ensemble, case: LabelledCase) -> dict[str, Score]:
    settings = ensemble.job.segmentation
    spacing = voxel_sizes(case.volume(ensemble.job).affine)
    classes = case.annotation.annotated_classes(settings)
    predicted = predict(ensemble, case.image)
    return score(predicted, case.reference(ensemble.job), classes, spacing, settings.tolerances)


def _summary(scores: Sequence[dict[str, Score]]) -> dict[str, float]:
    return mean_scores(scores) | {name: sum(case[name] or 0 for case in scores) for name in FAILURES}


def _tolerance(results: Sequence[CaseScore]) -> str:
    """Say the tolerance of the NSD, by class where the classes or the models differ."""
    pairs = dict.fromkeys(pair for result in results for pair in result.tolerances.items())
    if len({tolerance for _, tolerance in pairs}) == 1:
        return f"{next(iter(pairs))[1]:g} mm"
    return ", ".join(f"{name} {tolerance:g} mm" for name, tolerance in pairs)


def _table(title: str, metric: str, rows: Mapping[str, Mapping[str, Mapping[str, float]]], digits: int) -> Group:
    sites = list(dict.fromkeys(site for row in rows.values() for site in row))
    table = Table("model")
    for site in sites:
        table.add_column(site, justify="right")
    for model, row in rows.items():
        values = [row.get(site, {}).get(metric) for site in sites]
        table.add_row(model, *("-" if value is None else f"{value:.{digits}f}" for value in values))
    return Group(Text(f"{title}; mean over classes and cases"), table)
