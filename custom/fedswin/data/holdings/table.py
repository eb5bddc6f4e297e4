"""Who holds what, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from rich.console import Group, RenderableType
from rich.table import Table

from fedswin.data.datalist import SPLITS
from fedswin.data.holdings.count import Holdings, annotated_by_class, cases_by_class

_CLASSES_LISTED = 30
"""More would not fit a screen; TotalSegmentator has 117."""


def render_holdings(sites: Mapping[str, Holdings]) -> Group:
    """Return the cases of each site and their voxel sizes.

    If label maps were read, also how many show each class, and if datalists say so, in how many each was annotated.
    """
    shown: list[RenderableType] = [_cases(sites), _spacings(sites)]
    for what, classes in (
        ("cases that show", cases_by_class(sites)),
        ("cases that annotate", annotated_by_class(sites)),
    ):
        if classes:
            shown.append(render_counts(what, dict(islice(classes.items(), _CLASSES_LISTED))))
        if len(classes) > _CLASSES_LISTED:
            shown.append(f"and {len(classes) - _CLASSES_LISTED} classes more")
    if any(held.unreadable for held in sites.values()):
        shown.append("Some headers cannot be read: 'fedswin data check' says which, and what to do.")
    return Group(*shown)


def render_counts(what: str, rows: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the counts ``{row: {site: count}}`` as a table whose rows are ``what``."""
    table = Table(what)
    for site in next(iter(rows.values())):
        table.add_column(site, justify="right")
    for name, counts in rows.items():
        table.add_row(name, *map(str, counts.values()))
    return table


def _cases(sites: Mapping[str, Holdings]) -> Table:
    table = Table("site")
    for column in ("patients", *SPLITS, "labelled", "unreadable"):
        table.add_column(column, justify="right")
    for site, held in sites.items():
        counts = (held.patients, *(held.cases[split] for split in SPLITS), held.labelled, held.unreadable)
        table.add_row(site, *map(str, counts))
    return table


def _spacings(sites: Mapping[str, Holdings]) -> Table:
    table = Table("voxel size in mm: median (range)")
    for axis in "RAS":
        table.add_column(axis, justify="right")
    for site, held in sites.items():
        table.add_row(site, *_median_and_range(held))
    return table


def _median_and_range(held: Holdings) -> list[str]:
    spacing = held.spacing
    if spacing is None:
        return ["-"] * 3
    along_axes = zip(spacing["median"], spacing["min"], spacing["max"], strict=True)
    return [f"{median:.2f} ({low:.2f}-{high:.2f})" for median, low, high in along_axes]
