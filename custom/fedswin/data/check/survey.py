"""All that ``fedswin data check`` finds: faults of files and lists, what does not fit the job, what is there twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fedswin.config import Job
from fedswin.data.check.case import Demands
from fedswin.data.check.duplicates import shared_by_sites, twice_at_site
from fedswin.data.check.finding import Finding, collected, few, inside, place
from fedswin.data.check.fit import fit_to_job, room_for_cache
from fedswin.data.check.site import SiteReport, check_site
from fedswin.data.datalist import DATALIST, Site, overlaps, parse_datalist, site_folders, site_name


@dataclass(frozen=True)
class Survey:
    """What was found: of each site, and what is of several sites or of the machine."""

    sites: list[SiteReport]
    overall: list[Finding]

    @property
    def findings(self) -> list[Finding]:
        """Return all findings, those of the sites first."""
        return [*(finding for report in self.sites for finding in report.findings), *self.overall]


def survey(
    folder: Path, job: Job | None = None, *, workers: int = 1, progress: Callable[[str], None] = lambda _: None
) -> Survey:
    """Read every file of every case once, and return all that is wrong, and all that is there.

    Args:
        folder: a site folder, or a folder of site folders.
        job: what the data are for; for pre-training no label is opened.
        workers: how many cases are read at the same time; each takes the memory of one file.
        progress: called with a line of text after each case.

    Raises:
        FedSwinError: if there is no site folder.
    """
    reports = [_survey_site(site_folder, job, workers, progress) for site_folder in site_folders(folder).values()]
    return Survey(reports, [*shared_by_sites(reports), *(room_for_cache(reports, job) if job else [])])


def _survey_site(folder: Path, job: Job | None, workers: int, progress: Callable[[str], None]) -> SiteReport:
    site = Site(site_name(folder), folder)
    malformed: list[Finding] = []
    with collected(site, malformed):
        site = replace(site, splits=parse_datalist(folder / DATALIST)[0])
    if malformed:
        return SiteReport(site, malformed, [])
    report = check_site(
        site,
        Demands.of(job, digests=True),
        progress=lambda done, cases: progress(f"{site.name}: read case {done} of {cases}"),
        workers=workers,
    )
    fit = fit_to_job(report, job) if job else []
    more = [*_in_two_splits(site), *_outside(site), *twice_at_site(report), *_empty_label_maps(report), *fit]
    return replace(report, findings=[*report.findings, *more])


def _in_two_splits(site: Site) -> list[Finding]:
    shared: defaultdict[str, list[str]] = defaultdict(list)
    for key, splits in overlaps(site.splits).items():
        shared[" and ".join(f"'{split}'" for split in splits)].append(key)
    fix = "Keep each patient in one of them: scores on a patient who was trained on mean nothing."
    return [
        Finding("error", f"{site.name}/{DATALIST}", f"in both {splits}: {few(keys)}", fix)
        for splits, keys in shared.items()
    ]


def _outside(site: Site) -> list[Finding]:
    fix = "Move or link it into the folder: elsewhere it may be out of reach where the site trains, or not its own."
    return [
        Finding("warning", str(path), "lies outside the site's folder", fix, case)
        for cases in site.splits.values()
        for case in cases
        for path in (case.image, case.label)
        if path and not inside(site, path)
    ]


def _empty_label_maps(report: SiteReport) -> list[Finding]:
    fix = "It may stay if there is nothing to find in the image; else correct it, or take the label off the list."
    return [
        Finding("warning", place(report.site, found.case.label), "holds nothing but background", fix, found.case)
        for found in report.cases
        if found.case.label and found.shown == ()
    ]
