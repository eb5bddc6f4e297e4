"""The cases of a site that a job can use: a few that are damaged are left out, as if they were not on the datalist."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from fedswin.config import Job
from fedswin.data.check import Demands, Finding, check_site, require_sound
from fedswin.data.datalist import Case, Site


def usable_cases(
    job: Job, site: Site, *, strict: bool = False, progress: Callable[[int, int], None] | None = None
) -> tuple[Site, list[Finding]]:
    """Check a site's files for ``job``, and leave out the cases with an error, up to ``data.max_bad_cases`` of them.

    No test case is opened, for pre-training no label, and for fine-tuning no case without one.

    Args:
        job: the job.
        site: the site's cases.
        strict: take warnings, such as an image that cannot be in HU, as errors.
        progress: called with ``(cases done, cases in all)`` after each case.

    Returns:
        The site without those cases, and the warnings; what is wrong with those cases is among them.

    Raises:
        FedSwinError: if more cases have an error, or the datalist does; with ``strict``, if there is a warning.
    """
    report = check_site(
        site,
        Demands.of(job),
        labelled=job.task == "finetune",
        splits=("training", "validation"),
        progress=progress,
    )
    findings = report.findings
    bad = {finding.case for finding in findings if finding.case and finding.severity == "error"}
    if len(bad) > job.data.max_bad_cases:
        findings.append(_too_many(site, len(bad), job.data.max_bad_cases))
    elif not strict:
        findings = [_skipped(finding) if finding.case in bad else finding for finding in findings]
    return _without(site, bad), require_sound(findings, strict=strict)


def _too_many(site: Site, found: int, allowed: int) -> Finding:
    problem = f"too many cases cannot be used: {found}, and data.max_bad_cases is {allowed}"
    return Finding("error", site.name, problem, "Mend them, take them off the datalist, or raise data.max_bad_cases.")


def _skipped(finding: Finding) -> Finding:
    return replace(finding, severity="warning", fix=f"{finding.fix} Until then the case will be skipped.")


def _without(site: Site, bad: Collection[Case]) -> Site:
    return replace(site, splits={split: [c for c in cases if c not in bad] for split, cases in site.splits.items()})
