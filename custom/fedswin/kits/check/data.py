"""Whether a site's data are there, and can be used: numbers alone, since results may be shown to others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fedswin.data.check.survey import Survey, survey
from fedswin.data.datalist import DATALIST, is_site_folder
from fedswin.federation.messages import SITE_DATA_VARIABLE
from fedswin.federation.site_policy import SITE_POLICY, SitePolicy, load_site_policy, site_data_folder
from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result, State


def check_data(context: Context) -> Iterator[Result]:
    """Read every file of the site, as `fedswin data check` does."""
    policy = load_site_policy(context.kit.folder)
    folder = site_data_folder(policy)
    if folder is None:
        fix = f"Write it into {SITE_POLICY} as 'data', or set the environment variable {SITE_DATA_VARIABLE}."
        yield Result("data", "error", "nothing says where this site's data folder is", fix)
    elif not is_site_folder(folder):
        fix = "Make it with 'fedswin data convert', or correct the path."
        yield Result("data", "error", f"{folder} holds no {DATALIST}", fix)
    else:
        found = survey(folder, context.job, workers=context.workers, progress=context.progress)
        yield _soundness(found, folder)
        yield _enough(found, policy)


def _soundness(found: Survey, folder: Path) -> Result:
    (report,) = found.sites
    splits = ", ".join(f"{len(cases)} {split}" for split, cases in report.site.splits.items())
    faults = Counter(finding.severity for finding in found.findings)
    state: State = "error" if faults["error"] else "warning" if faults["warning"] else "ok"
    counts = f"{len(report.cases)} cases read ({splits}), {faults['error']} errors, {faults['warning']} warnings"
    fix = "" if state == "ok" else f"'fedswin data check {folder}' names each, and what to do."
    return Result("data", state, counts, fix)


def _enough(found: Survey, policy: SitePolicy) -> Result:
    """Compare the training cases without an error with the least number that the site's policy asks for."""
    (report,) = found.sites
    bad = {finding.case for finding in found.findings if finding.severity == "error"}
    usable = sum(case not in bad for case in report.site.cases("training"))
    counts = f"{usable} can be used, and {SITE_POLICY} asks for {policy.min_cases} or more"
    if usable < policy.min_cases:
        return Result("training cases", "error", counts, "Mend or add cases; until then no job trains here.")
    return Result("training cases", "ok", counts)
