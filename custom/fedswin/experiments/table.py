"""The tables of an experiment in Markdown: of its configurations, of every class, and of every test case."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedswin.experiments.learning import ENCODER_FIGURES
from fedswin.experiments.summary import Spread, Summary

HEADINGS = {
    "left_out": "left out",
    "labels": "labels a site",
    "objective": "losses",
    "cases": "scans a site",
    "frozen": "encoder",
}
_NONE = "–"


def table(summaries: Sequence[Summary], axes: Sequence[str]) -> str:
    """Return a line for each configuration: scores, sites, the gain over scratch, and what it took.

    Args:
        summaries: of the configurations.
        axes: those that tell them apart, as `varying_axes` returns them.
    """
    sites = list(dict.fromkeys(site for summary in summaries for site in summary.sites))
    shown = sites if len(sites) > 1 else []
    columns: list[tuple[str, Callable[[Summary], str]]] = [
        *((HEADINGS.get(axis, axis), axis_value(axis)) for axis in axes),
        ("seeds", _seeds),
        ("Dice", lambda s: _spread(s.measures["dice"])),
        ("− scratch", _gain),
        ("95 % interval", _interval),
        *([("area under Dice by step", _measure("dice_area", ".3f"))] if _any(summaries, "dice_area") else []),
        *((site, _site(site)) for site in shown),
        *([("worst site", _worst_site)] if shown else []),
        *([("worst site of a run", _measure("worst_site_dice", ".3f"))] if _any(summaries, "worst_site_dice") else []),
        *([("HD, mm", _measure("hd", ".1f"))] if any("hd" in summary.measures for summary in summaries) else []),
        ("HD95, mm", _measure("hd95", ".1f")),
        ("NSD", _measure("nsd", ".3f")),
        *([("learned", _learned)] if _any(summaries, "encoder_rotation_accuracy") else []),
        ("pre-training: steps", _count("pretraining_steps")),
        ("pre-training: scans", _count("pretraining_cases")),
        ("pre-training: sub-volumes", _count("pretraining_samples")),
        ("pre-training: MB a site and round", _measure("pretraining_megabytes_per_round", ".1f")),
        ("fine-tuning: steps", _count("finetuning_steps")),
        ("fine-tuning: labels", _count("finetuning_cases")),
        ("fine-tuning: sub-volumes", _count("finetuning_samples")),
        ("fine-tuning: MB a site and round", _measure("finetuning_megabytes_per_round", ".1f")),
    ]
    return markdown([name for name, _ in columns], [[text(summary) for _, text in columns] for summary in summaries])


def class_table(summaries: Sequence[Summary], axes: Sequence[str]) -> str:
    """Return the Dice of every class in every configuration, as `table`; empty if there is but one class."""
    classes = list(dict.fromkeys(name for summary in summaries for name in summary.classes))
    return _named_table(summaries, axes, classes, _class) if classes else ""


def case_table(summaries: Sequence[Summary], axes: Sequence[str]) -> str:
    """Return the Dice of every test case in every configuration, as `table`, a case in each column."""
    return _named_table(summaries, axes, sorted({name for summary in summaries for name in summary.cases}), _case)


def _named_table(
    summaries: Sequence[Summary],
    axes: Sequence[str],
    names: Sequence[str],
    text: Callable[[str], Callable[[Summary], str]],
) -> str:
    """Return a line for each configuration, with the text of each name."""
    columns = [*map(axis_value, axes), *map(text, names)]
    lines = [[of_column(summary) for of_column in columns] for summary in summaries]
    return markdown([*(HEADINGS.get(axis, axis) for axis in axes), *names], lines)


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table, without a line break at its end."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def axis_value(axis: str) -> Callable[[Summary], str]:
    if axis == "arm":
        return arm_text
    if axis == "frozen":
        return lambda summary: "frozen" if summary.cell.frozen else "fine-tuned"
    return lambda summary: str(getattr(summary.cell, axis)) or _NONE


def arm_text(summary: Summary) -> str:
    """Return the arm, who pre-trained, and what keeps a conclusion from being drawn from it."""
    arm = " at ".join(filter(None, [summary.cell.arm, summary.alone]))
    return f"{arm} ({summary.remark})" if summary.remark else arm


def _any(summaries: Sequence[Summary], measure: str) -> bool:
    return any(measure in summary.measures for summary in summaries)


def _seeds(summary: Summary) -> str:
    seeds = " ".join(map(str, summary.seeds))
    return f"{seeds}; encoders {' '.join(map(str, summary.encoder_seeds))}" if summary.encoder_seeds else seeds


def _learned(summary: Summary) -> str:
    """Say what the verdict on the encoders rests on, as means over runs."""
    told = {name.removeprefix("encoder_"): of.mean for name, of in summary.measures.items() if name in ENCODER_FIGURES}
    names = {
        "rotation_accuracy": "rotation accuracy {:.2f}",
        "rotation_accuracy_bound": "at least {:.2f}",
        "contrastive_share": "contrastive share {:.2f}",
        "feature_spread": "spread {:.2g}",
        "feature_rank": "rank {:.1f}",
    }
    return ", ".join(text.format(told[name]) for name, text in names.items() if name in told) or _NONE


def _worst_site(summary: Summary) -> str:
    return f"{_spread(summary.sites[summary.worst_site])} {summary.worst_site}"


def _site(name: str) -> Callable[[Summary], str]:
    return lambda summary: _spread(summary.sites[name]) if name in summary.sites else _NONE


def _class(name: str) -> Callable[[Summary], str]:
    return lambda summary: _spread(summary.classes[name]) if name in summary.classes else _NONE


def _case(name: str) -> Callable[[Summary], str]:
    return lambda summary: f"{summary.cases[name]:.3f}" if name in summary.cases else _NONE


def _measure(name: str, form: str) -> Callable[[Summary], str]:
    return lambda summary: format(summary.measures[name].mean, form) if name in summary.measures else _NONE


def _count(name: str) -> Callable[[Summary], str]:
    """Show a whole number as it is, and a mean of several to one decimal."""
    return lambda summary: f"{round(summary.measures[name].mean, 1):.10g}" if name in summary.measures else _NONE


def _gain(summary: Summary) -> str:
    if not (gain := summary.gain):
        return _NONE
    cases, runs = f"{gain.better} of {gain.cases} cases", f"{gain.better_runs} of {gain.runs} runs"
    return f"{gain.differences['dice'].mean:+.3f}; better in {cases}, {runs}".replace("-", "−")


def _interval(summary: Summary) -> str:
    """Return the interval; of encoders that are not known to have learned there is none, as it would say nothing."""
    if not summary.gain or summary.remark:
        return _NONE
    found = summary.gain.differences["dice"]
    return f"{found.low:+.3f} to {found.high:+.3f}".replace("-", "−")


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.3f}" + (f" ± {spread.deviation:.3f}" if spread.deviation is not None else "")
