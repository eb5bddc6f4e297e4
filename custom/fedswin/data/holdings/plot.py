"""Who holds what, as a picture: the cases of each class, and the voxel sizes, stacked by site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedswin.data.holdings.count import Holdings, cases_by_class
from fedswin.durable import written_whole
from fedswin.errors import FedSwinError, needs_extra
from fedswin.output import refuse_output

_PNG = b"\x89PNG\r\n\x1a\n"


def refuse_plot(out: Path, *, overwrite: bool) -> None:
    """Make sure that a picture can be drawn, and written to ``out``.

    Raises:
        FedSwinError: if matplotlib (the extra ``report``) is not installed, ``out`` exists and ``overwrite`` is false,
            or it is something other than a PNG.
    """
    _figure_class()
    refuse_output(out, overwrite=overwrite, kind="a PNG", is_kind=_is_png)


def draw_holdings(sites: Mapping[str, Holdings], out: Path) -> None:
    """Write a PNG: for each class the cases that show it, and the voxel sizes along R, A and S, stacked by site.

    Args:
        sites: what each site holds, with its classes read.
        out: the PNG to write; an existing file is replaced.

    Raises:
        FedSwinError: if matplotlib is not installed, or ``out`` cannot be written.
    """
    unlabelled = {site: sum(held.cases.values()) - held.labelled for site, held in sites.items()}
    bars = cases_by_class(sites) | {"no label": unlabelled}
    figure = _figure_class()(figsize=(max(9.0, 2 + 0.25 * len(bars)), 6), layout="constrained")
    panels = figure.subplot_mosaic([["classes"] * 3, ["R", "A", "S"]])
    colours = _colours(len(sites))
    _draw_classes(panels["classes"], bars, dict(zip(sites, colours, strict=True)))
    for number, axis in enumerate("RAS"):
        _draw_spacings(panels[axis], axis, [[row[number] for row in held.spacings] for held in sites.values()], colours)
    panels["R"].set_ylabel("images")
    for axes in panels.values():
        axes.yaxis.get_major_locator().set_params(integer=True)
    figure.legend(*panels["classes"].get_legend_handles_labels(), loc="outside right upper")
    try:
        with written_whole(out) as file:
            figure.savefig(file, format="png", dpi=100)
    except OSError as error:
        raise FedSwinError(f"{out}: cannot write the picture ({error.strerror}). Choose another folder.") from None


def _figure_class() -> Any:
    with needs_extra("report", "A picture"):
        from matplotlib.figure import Figure
    return Figure


def _is_png(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_PNG)) == _PNG


def _colours(count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["turbo"](np.linspace(0.1, 0.9, count))


def _draw_classes(axes: Any, bars: Mapping[str, Mapping[str, int]], colours: Mapping[str, Any]) -> None:
    bottom = np.zeros(len(bars))
    for site, colour in colours.items():
        counts = [of_sites[site] for of_sites in bars.values()]
        axes.bar(list(bars), counts, bottom=bottom, color=colour, label=site)
        bottom += counts
    axes.set(xlabel="class", ylabel="cases", title="Cases that show a class")
    axes.tick_params(axis="x", rotation=90 if len(bars) > 12 else 0)
    axes.margins(x=0.01)


def _draw_spacings(axes: Any, axis: str, of_sites: list[list[float]], colours: Any) -> None:
    axes.hist(of_sites, bins=20, stacked=True, color=list(colours))
    axes.set(xlabel=f"voxel size along {axis} in mm")
