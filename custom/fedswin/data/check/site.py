"""A site: all of its cases are read, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from fedswin.config import SegmentationSettings
from fedswin.data.check.case import CaseReport, Demands, read_case
from fedswin.data.check.finding import Finding, collected
from fedswin.data.datalist import DATALIST, SPLITS, Case, Site


@dataclass(frozen=True)
class SiteReport:
    """What was found of a site: the faults, and each case that was read, both in the order of the datalist."""

    site: Site
    findings: list[Finding]
    cases: list[CaseReport]


def check_site(
    site: Site,
    demands: Demands,
    *,
    labelled: bool = False,
    splits: Sequence[str] = SPLITS,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> SiteReport:
    """Read every case of ``site`` and return what is wrong, and what is there.

    A file that cannot be used is an error; an image that cannot be in HU is a warning.

    Args:
        site: as ``read_site`` returns it.
        demands: what is asked of its files. If the datalist does not fit the classes, that is one error, and then
            every whole number may be a label value.
        labelled: whether to leave aside the cases without a label.
        splits: the splits whose cases are read.
        progress: called with ``(cases done, cases in all)`` after each case.
        workers: how many cases are read at the same time; each takes the memory of one file.
    """
    cases = [(split, case) for split in splits for case in site.cases(split, labelled=labelled)]
    unfit = _unfit(site, [case for _, case in cases], demands.labels) if demands.labels and demands.read_labels else []
    known = replace(demands, labels=None) if unfit else demands
    reports = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, report in enumerate(pool.map(lambda item: read_case(site, item[0], item[1], known), cases), start=1):
            reports.append(report)
            if progress:
                progress(done, len(cases))
    findings = [*_empty(site), *unfit, *(finding for report in reports for finding in report.findings)]
    return SiteReport(site, findings, reports)


def _empty(site: Site) -> list[Finding]:
    if site.cases("training"):
        return []
    fix = f"Add cases to 'training' in its {DATALIST}, or leave the site out of the study."
    return [Finding("error", f"{site.name}/{DATALIST}", "there is no training case", fix)]


def _unfit(site: Site, cases: Sequence[Case], labels: SegmentationSettings) -> list[Finding]:
    findings: list[Finding] = []
    for annotation in {case.annotation: None for case in cases}:
        with collected(site, findings):
            annotation.class_indices(labels)
    return list(dict.fromkeys(findings))  # what is wrong with the label map is wrong in all of them
