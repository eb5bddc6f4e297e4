"""What a site has, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fedswin.config import Job
from fedswin.data.check.site import SiteReport
from fedswin.data.shown_classes import class_order
from fedswin.data.spread import Spread, spreads


@dataclass(frozen=True)
class Summary:
    """What a site has.

    Attributes:
        cases: the number of cases of each split.
        labelled: how many of them have a label.
        classes: in how many cases each class occurs; empty where no label was read.
        spacing: along R, A and S, in mm, of the images that could be read.
        size: along R, A and S, in voxels.
    """

    cases: dict[str, int]
    labelled: dict[str, int]
    classes: dict[str, int]
    spacing: dict[str, Spread]
    size: dict[str, Spread]


def summarise(report: SiteReport, job: Job | None) -> Summary:
    """Count what was found of a site; a class of ``job`` that no case shows is among the classes, with 0."""
    site, grids = report.site, [case.grid for case in report.cases if case.grid]
    return Summary(
        {split: len(cases) for split, cases in site.splits.items()},
        {split: len(site.cases(split, labelled=True)) for split in site.splits},
        _classes(report, job),
        spreads([grid.spacing for grid in grids]),
        spreads([grid.shape for grid in grids]),
    )


def _classes(report: SiteReport, job: Job | None) -> dict[str, int]:
    shown = [case.shown for case in report.cases if case.shown is not None]
    names = job.segmentation.classes if job and shown else ()
    counts = Counter(name for case in shown for name in case)
    return {**dict.fromkeys(names, 0), **{name: counts[name] for name in sorted(counts, key=class_order)}}
