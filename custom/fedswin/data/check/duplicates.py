"""Images that are there twice: in a split, in two splits of a site, or at two sites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fedswin.data.check.case import CaseReport
from fedswin.data.check.finding import Finding, place
from fedswin.data.check.site import SiteReport

_Found = tuple[SiteReport, CaseReport]


def twice_at_site(report: SiteReport) -> list[Finding]:
    """Find the images of a site with the same voxels.

    In two splits that is an error: what a model is scored on, it was trained on. In one split it is a warning: of one
    patient, the case counts twice; of two, folds may part them.
    """
    findings = []
    for same in _same_voxels([report]):
        splits = list(dict.fromkeys(found.split for _, found in same))
        findings.append(_across_splits(same, splits) if len(splits) > 1 else _in_split(same, splits[0]))
    return findings


def shared_by_sites(reports: Sequence[SiteReport]) -> list[Finding]:
    """Find the images of several sites with the same voxels; each is an error, for no two sites share a scan."""
    findings = []
    for same in _same_voxels(reports):
        sites = sorted({report.site.name for report, _ in same})
        if len(sites) > 1:
            problem = f"the same image is at {' and '.join(sites)} (splits: {_listed(same)})"
            fix = "Leave it at one site: it counts twice, and is a leak where another site tests on it."
            findings.append(Finding("error", _where(same), problem, fix))
    return findings


def _across_splits(same: Sequence[_Found], splits: Sequence[str]) -> Finding:
    fix = "Keep it in one of them: scores on an image that was trained on mean nothing."
    return Finding("error", _where(same), f"the same image is in {' and '.join(splits)}", fix)


def _in_split(same: Sequence[_Found], split: str) -> Finding:
    if len({found.case.patient for _, found in same}) == 1:
        fix = "Take all but one off the list: it counts as often as it is there."
        return Finding("warning", _where(same), f"the same image is in {split} more than once", fix)
    fix = "Take all but one off the list, or name one 'patient' for all: folds part patients."
    return Finding("warning", _where(same), f"the same image is in {split} as that of several patients", fix)


def _same_voxels(reports: Sequence[SiteReport]) -> list[list[_Found]]:
    groups: defaultdict[str, list[_Found]] = defaultdict(list)
    for report in reports:
        for found in report.cases:
            if found.digest:
                groups[found.digest].append((report, found))
    return [group for group in groups.values() if len(group) > 1]


def _where(same: Sequence[_Found]) -> str:
    return " = ".join(place(report.site, found.case.image) for report, found in same)


def _listed(same: Sequence[_Found]) -> str:
    return ", ".join(sorted({found.split for _, found in same}))
