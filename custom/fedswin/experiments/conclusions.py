"""What the rows of a plan show, in sentences: each is drawn by rule from the rows, none is typed."""

from __future__ import annotations

from collections.abc import Sequence

from fedswin.experiments.paired import Difference
from fedswin.experiments.plan import EndPoint, Plan
from fedswin.experiments.summary import Summary
from fedswin.experiments.table import HEADINGS, arm_text, axis_value

_LEAST_SEEDS = 2
"""Of one seed it is not known how far the models of another one would lie off."""
_NAMES: dict[EndPoint, tuple[str, str]] = {
    "dice": ("Dice", "+.3f"),
    "dice_area": ("Area under Dice by step", "+.3f"),
    "hd95": ("HD95 in mm", "+.1f"),
    "nsd": ("NSD", "+.3f"),
    "worst_site_dice": ("Dice of the worst site", "+.3f"),
}
_AT_CHANCE_LATER = (
    "The encoders of these rows were at chance, as was measured after the rows had been recorded, so they say nothing "
    "about the method."
)
_NOT_RECORDED = (
    "Whether the encoders of these rows had learned anything was not recorded, so no conclusion is drawn from them."
)
_AT_CHANCE = "The encoders of these rows were at chance, so they say nothing about the method."


def conclusions(plan: Plan, summaries: Sequence[Summary], axes: Sequence[str]) -> list[str]:
    """Return the sentences about a plan, those on its main end point first.

    An arm whose encoders are not all known to have learned has none but that. Of the others each is compared with
    scratch; frozen encoders are so with a frozen random one. It is ahead or behind if neither interval holds 0, that of
    the bootstrap and that over seeds.

    Args:
        plan: the plan.
        summaries: of its configurations.
        axes: those that tell them apart, as `varying_axes` returns them.
    """
    trained = [summary for summary in summaries if not summary.cell.starts_from_scratch]
    remarks = {summary.remark for summary in trained}
    if not trained:
        return []
    if remarks == {"encoder at chance"}:
        return [_AT_CHANCE_LATER if plan.settings.encoders else _AT_CHANCE]
    if remarks == {"learning not recorded"}:
        return [_NOT_RECORDED]
    compared = [summary for summary in trained if not summary.remark]
    return [
        *(_compared(end_point, summary, axes) for end_point in plan.settings.end_points for summary in compared),
        *(f"{_named(summary, axes)}: no conclusion is drawn from it." for summary in trained if summary.remark),
    ]


def _compared(end_point: EndPoint, summary: Summary, axes: Sequence[str]) -> str:
    found = summary.gain.differences.get(end_point) if summary.gain else None
    what, name = f"{_NAMES[end_point][0]}, {_named(summary, axes)}", "scratch"
    if not found:
        return f"{what}: nothing to compare with yet."
    if summary.cell.frozen:
        name = "a frozen random encoder"
    numbers = (format(number, _NAMES[end_point][1]) for number in (found.mean, found.low, found.high))
    mean, low, high = (number.replace("-", "−") for number in numbers)
    patients = f", {found.patients} patients" if found.patients else ""
    told = f"{mean} against {name} ({low} to {high}; {found.runs} runs{patients})"
    return f"{what}: {told}: {_verdict(end_point, found)}."


def _verdict(end_point: EndPoint, found: Difference) -> str:
    if min(found.seeds) < _LEAST_SEEDS:
        return "one seed, so no conclusion"
    if found.patients == 1:  # 0 of an end point that is not told patient by patient
        return "one patient, so no conclusion"
    if found.low <= 0 <= found.high:
        return "no difference is shown"
    if not found.holds_over_seeds:
        return "not more than seeds differ, so no conclusion"
    return "ahead" if (found.low > 0) != (end_point == "hd95") else "behind"


def _named(summary: Summary, axes: Sequence[str]) -> str:
    """Name a configuration by what tells it apart: "federated, labels a site 1"."""
    values = {axis: axis_value(axis)(summary) for axis in axes if axis != "arm"}
    headings = {axis: HEADINGS[axis] for axis in ("labels", "cases", "left_out", "frozen")}
    others = [f"{headings[axis]} {value}" if axis in headings else value for axis, value in values.items()]
    return ", ".join([f"**{arm_text(summary)}**", *others])
