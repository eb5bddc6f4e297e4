"""The tables of an experiment in Markdown: of its configurations, of every class, and of every test case."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedswin.experiments.summary import Spread, Summary

_HEADINGS = {"left_out": "left out", "labels": "labels a site", "objective": "losses", "cases": "scans a site"}
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
        *((_HEADINGS.get(axis, axis), _value(axis)) for axis in axes),
        ("seeds", lambda s: " ".join(map(str, s.seeds))),
        ("Dice", lambda s: _spread(s.measures["dice"])),
        ("− scratch", _gain),
        ("p", lambda s: _NONE if s.gain is None or s.gain.p is None else f"{s.gain.p:.2g}"),
        *((site, _site(site)) for site in shown),
        *([("worst site", _worst_site)] if shown else []),
        *([("HD, mm", _measure("hd", ".1f"))] if any("hd" in summary.measures for summary in summaries) else []),
        ("HD95, mm", _measure("hd95", ".1f")),
        ("NSD", _measure("nsd", ".3f")),
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
    columns = [*map(_value, axes), *map(text, names)]
    lines = [[of_column(summary) for of_column in columns] for summary in summaries]
    return markdown([*(_HEADINGS.get(axis, axis) for axis in axes), *names], lines)


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table, without a line break at its end."""
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _value(axis: str) -> Callable[[Summary], str]:
    if axis == "arm":
        return lambda summary: " at ".join(filter(None, [summary.cell.arm, summary.alone]))
    return lambda summary: str(getattr(summary.cell, axis)) or _NONE


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
    cases, seeds = f"{gain.better} of {gain.cases} cases", f"{gain.better_seeds} of {gain.seeds} seeds"
    return f"{gain.mean:+.3f}; better in {cases}, {seeds}".replace("-", "−")


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.3f}" + (f" ± {spread.deviation:.3f}" if spread.deviation is not None else "")
