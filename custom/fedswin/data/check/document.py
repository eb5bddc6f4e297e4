"""Findings as one JSON document, for a site's own scripts: it names files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fedswin.config import Job
from fedswin.data.check.finding import Finding, by_severity
from fedswin.data.check.lists import Comparison
from fedswin.data.check.summary import summarise
from fedswin.data.check.survey import Survey


def survey_document(found: Survey, job: Job | None) -> dict[str, Any]:
    """Return a survey as plain values.

    ``{"sites": [SITE, …], "overall": [FINDING, …], "errors": n, "warnings": n}``, where a SITE is ``{"name", "cases",
    "labelled", "classes", "spacing", "size", "findings": [FINDING, …]}`` with the attributes of `Summary`, each spread
    as ``[smallest, median, largest]``; a FINDING is ``{"severity", "where", "problem", "fix"}``, all of them texts, and
    the severity ``"error"`` or ``"warning"``.
    """
    sites = [
        {"name": report.site.name, **asdict(summarise(report, job)), "findings": _plain(report.findings)}
        for report in found.sites
    ]
    return {"sites": sites, "overall": _plain(found.overall), **_counts(found.findings)}


def comparison_document(found: Comparison) -> dict[str, Any]:
    """Return a comparison of datalists as plain values.

    ``{"lists": {name: {"cases": n, "series": n}}, "findings": [FINDING, …], "errors": n, "warnings": n}``, with a
    FINDING as in `survey_document`.
    """
    lists = {name: {"cases": len(listed.names), "series": len(listed.series)} for name, listed in found.lists.items()}
    return {"lists": lists, "findings": _plain(found.findings), **_counts(found.findings)}


def _plain(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [
        {"severity": finding.severity, "where": finding.where, "problem": finding.problem, "fix": finding.fix}
        for finding in findings
    ]


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    return {f"{severity}s": count for severity, count in by_severity(findings).items()}
