"""The charts of a run, and of several runs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fedswin.report.chart import Chart, Series, line_chart
from fedswin.report.facts import RunFacts
from fedswin.report.wording import metric_name, readable
from fedswin.run_folder import Record

_GLOBAL = "global model"


def score_charts(run: RunFacts) -> list[Chart]:
    """Return the validation metrics by round: the global model as a thick line, each site as a thin one."""
    names = [metric for metric in run.job.metrics if not metric.startswith("dice_")]
    charts = [_score_chart(run, metric) for metric in names]
    return [chart for chart in (*charts, _class_chart(run)) if chart]


def training_charts(run: RunFacts) -> list[Chart]:
    """Return what the sites report of their training, by round."""
    wanted = [
        ("Training loss", "mean over the round", lambda line: line.get("train", {}).get("loss")),
        ("Norm of the gradient", "L2 norm", lambda line: line.get("train", {}).get("gradient_norm")),
        ("Norm of each site's update", "L2 norm", lambda line: line.get("norm")),
        ("Agreement of each update with the step taken", "cosine, −1 to 1", lambda line: line.get("cosine")),
        ("Time in training", "seconds a round", lambda line: line.get("seconds")),
        ("Time waiting for the others", "seconds a round", lambda line: line.get("waiting")),
    ]
    charts = [_chart(run, run.rounds, title, unit, _by_site(run, run.rounds, get)) for title, unit, get in wanted]
    return [chart for chart in charts if chart]


def comparison_chart(runs: Sequence[RunFacts]) -> Chart | None:
    """Return the key metric of each run by optimizer step."""
    metric, _ = runs[0].job.key_metric
    scored = [
        {r["round"] * run.job.federation.local_steps: r["global"].get(metric) for r in run.records} for run in runs
    ]
    steps = sorted({step for run in scored for step in run})
    series = [
        Series(run.name, [values.get(step) for step in steps], number)
        for number, (run, values) in enumerate(zip(runs, scored, strict=True))
    ]
    return line_chart(f"Validation {metric_name(metric)}", "optimizer step", _unit(metric), steps, series)


def _score_chart(run: RunFacts, metric: str) -> Chart | None:
    whole = Series(_GLOBAL, [record["global"].get(metric) for record in run.records])
    pooled = Series("over all cases", [record.get("pooled", {}).get(metric) for record in run.records], len(run.sites))
    sites = _by_site(run, run.records, lambda line: (line.get("metrics") or {}).get(metric))
    several = [*sites, pooled] if len(run.sites) > 1 else []
    return _chart(run, run.records, f"Validation {metric_name(metric)}", _unit(metric), [whole, *several], marked=True)


def _class_chart(run: RunFacts) -> Chart | None:
    if len(run.classes) < 2:
        return None
    series = [
        Series(readable(name), [record["global"].get(f"dice_{name}") for record in run.records], number)
        for number, name in enumerate(run.classes)
    ]
    return _chart(run, run.records, "Validation Dice of each class, global model", _unit("dice"), series, marked=True)


def _by_site(run: RunFacts, records: Sequence[Record], value: Callable[[Any], float | None]) -> list[Series]:
    return [
        Series(site.name, [value(record["sites"].get(site.name, {})) for record in records], number)
        for number, site in enumerate(run.sites)
    ]


def _chart(
    run: RunFacts,
    records: Sequence[Record],
    title: str,
    y_label: str,
    series: Sequence[Series],
    *,
    marked: bool = False,
) -> Chart | None:
    best = run.best["round"] if run.best and marked else None
    return line_chart(title, "round", y_label, [record["round"] for record in records], series, best)


def _unit(metric: str) -> str:
    return {"dice": "Dice, 0 to 1", "rotation_accuracy": "share right, 0 to 1"}.get(metric, f"{metric_name(metric)}")
