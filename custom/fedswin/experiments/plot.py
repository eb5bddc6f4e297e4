"""The plot of an experiment: the Dice of every run, and the mean of each arm along the axis that the plan varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from fedswin.durable import written_whole
from fedswin.errors import needs_extra
from fedswin.experiments.learning import remark_on
from fedswin.experiments.rows import Row
from fedswin.experiments.summary import varying_axes

_ALONG = {
    "labels": "labelled cases a site",
    "cases": "pre-training scans a site",
    "left_out": "hospital left out",
    "task": "task",
    "objective": "losses of pre-training",
    "arm": "pre-training",
}
"""The axes that a plot may run along, the first of those that vary being the one, and how it is called there."""
_AMOUNTS = ("labels", "cases")
_OF_PRETRAINING = ("cases", "objective")
_ARMS = {"scratch": "C7", "local": "C1", "federated": "C0", "central": "C2"}


def require_plots() -> None:
    """Make sure that plots can be drawn.

    Raises:
        FedSwinError: if matplotlib (the extra ``report``) is not installed.
    """
    with needs_extra("report", "A plot"):
        import matplotlib.figure  # noqa: F401


def draw(rows: Sequence[Row], out: Path) -> None:
    """Write an SVG: a panel for each shard and for frozen encoders, a dot for each run, a dash for each arm's mean.

    Along amounts a line joins the means; along what only pre-training has, a dashed one shows the mean from scratch.

    Args:
        rows: the rows of a plan, one at least.
        out: the SVG to write; an existing file is replaced.

    Raises:
        FedSwinError: as `require_plots`.
    """
    require_plots()
    import matplotlib
    from matplotlib.figure import Figure

    along = next((axis for axis in _ALONG if axis in varying_axes(rows)), "arm")
    kinds = list(dict.fromkeys((row.cell.shard, row.cell.frozen) for row in rows))
    labels = {arm: _label(arm, rows) for arm in _ARMS}
    with matplotlib.rc_context({"svg.hashsalt": "fedswin", "svg.fonttype": "none"}):
        figure = Figure(figsize=(1.5 + 4.5 * len(kinds), 3.8), layout="constrained")
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for panel, (shard, frozen) in zip(panels, kinds, strict=True):
            own = [row for row in rows if (row.cell.shard, row.cell.frozen) == (shard, frozen)]
            _draw_panel(panel, own, along, labels)
            panel.set_title((f"{shard}, frozen encoder" if frozen else shard) if len(kinds) > 1 else "")
        panels[0].set_ylabel("Dice on held-out cases")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
        with written_whole(out) as file:
            figure.savefig(file, format="svg", metadata={"Date": None})


def _label(arm: str, rows: Sequence[Row]) -> str:
    """Return the arm with what keeps a conclusion from being drawn from it."""
    remark = "" if arm == "scratch" else remark_on([row.about["encoder"] for row in rows if row.cell.arm == arm])
    return f"{arm}\n({remark})" if remark else arm


def _draw_panel(panel: Any, rows: Sequence[Row], along: str, labels: Mapping[str, str]) -> None:
    beside = {"scratch"} if along in _OF_PRETRAINING else set()  # what is not pre-trained has no place on such an axis
    places = sorted(dict.fromkeys(_place(row, along) for row in rows if row.cell.arm not in beside), key=_in_order)
    arms = [arm for arm in _ARMS if any(row.cell.arm == arm for row in rows)]
    for number, arm in enumerate(arms):
        own = [row for row in rows if row.cell.arm == arm]
        label = labels[arm]
        if arm in beside:
            panel.axhline(mean(row.measures["dice"] for row in own), color=_ARMS[arm], linestyle="--", label=label)
            continue
        shift = 0.12 * (number - (len(arms) - 1) / 2)  # so that the dots of the arms stand side by side
        dots = [(places.index(_place(row, along)) + shift, row.measures["dice"]) for row in own]
        xs = sorted({x for x, _ in dots})
        means = [mean(dice for place, dice in dots if place == x) for x in xs]
        line = "-" if along in _AMOUNTS else ""
        panel.plot(xs, means, color=_ARMS[arm], marker="_", markersize=12, linestyle=line, label=label)
        panel.scatter(*zip(*dots, strict=True), color=_ARMS[arm], s=9, alpha=0.6)
    panel.set_xticks(range(len(places)), places)
    panel.set_xlabel(_ALONG[along])
    panel.grid(axis="y", alpha=0.3)


def _place(row: Row, along: str) -> str:
    return str(getattr(row.cell, along)).replace(" + ", "\n+ ")


def _in_order(place: str) -> tuple[bool, float]:
    """Sort numbers by size and before "all"; other places stay as they are."""
    return (not place.isdecimal(), float(place) if place.isdecimal() else 0.0)
