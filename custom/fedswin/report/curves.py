"""The charts of a run, and of several runs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fedswin.records import Record
from fedswin.report.chart import Chart, Series, line_chart
from fedswin.report.facts import RunFacts
from fedswin.report.wording import metric_name, readable

_MODELS = {"federated": "global model", "local": "model", "central": "model"}


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
    charts = [_chart(run, title, unit, _by_site(run, run.rounds, get)) for title, unit, get in wanted]
    return [chart for chart in charts if chart]


def comparison_chart(runs: Sequence[RunFacts]) -> Chart | None:
    """Return the key metric of each run by optimizer step."""
    metric, _ = runs[0].job.key_metric
    series = [
        Series(
            run.name,
            [record["round"] * run.job.federation.local_steps for record in run.records],
            [record["global"].get(metric) for record in run.records],
            number,
        )
        for number, run in enumerate(runs)
    ]
    return line_chart(f"Validation {metric_name(metric)}", "optimizer step", _unit(metric), series)


def _score_chart(run: RunFacts, metric: str) -> Chart | None:
    whole = _by_round(_MODELS[run.kind], run.records, [record["global"].get(metric) for record in run.records])
    over_cases = [record.get("pooled", {}).get(metric) for record in run.records]
    pooled = _by_round("over all cases", run.records, over_cases, len(run.sites))
    sites = _by_site(run, run.records, lambda line: (line.get("metrics") or {}).get(metric))
    several = [*sites, pooled] if len(run.sites) > 1 else []
    return _chart(run, f"Validation {metric_name(metric)}", _unit(metric), [whole, *several], marked=True)


def _class_chart(run: RunFacts) -> Chart | None:
    if len(run.classes) < 2:
        return None
    series = [
        _by_round(readable(name), run.records, [record["global"].get(f"dice_{name}") for record in run.records], number)
        for number, name in enumerate(run.classes)
    ]
    return _chart(run, f"Validation Dice of each class, {_MODELS[run.kind]}", _unit("dice"), series, marked=True)


def _by_site(run: RunFacts, records: Sequence[Record], value: Callable[[Any], float | None]) -> list[Series]:
    return [
        _by_round(site.name, records, [value(record["sites"].get(site.name, {})) for record in records], number)
        for number, site in enumerate(run.sites)
    ]


def _by_round(name: str, records: Sequence[Record], values: Sequence[float | None], style: int | None = None) -> Series:
    return Series(name, [record["round"] for record in records], values, style)


def _chart(run: RunFacts, title: str, y_label: str, series: Sequence[Series], *, marked: bool = False) -> Chart | None:
    best = run.best["round"] if run.best and marked else None
    return line_chart(title, "round", y_label, series, best)


def _unit(metric: str) -> str:
    units = {
        "dice": "Dice, 0 to 1",
        "rotation_accuracy": "share right, 0 to 1; chance is 0.25",
        "contrastive_share": "share of ln(2 N − 1); chance is 1",
        "feature_spread": "standard deviation over views",
        "feature_rank": "RankMe",
    }
    return units.get(metric, metric_name(metric))
