"""What a person sees of a check: a table of problems and fixes, and what each site has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fedswin.config import Job
from fedswin.data.check.finding import Finding, by_severity, few, grouped
from fedswin.data.check.lists import Comparison
from fedswin.data.check.site import SiteReport
from fedswin.data.check.summary import Summary, summarise
from fedswin.data.check.survey import Survey
from fedswin.data.spread import Spread

_STYLES = {"error": "bold red", "warning": "yellow"}


def show_survey(found: Survey, job: Job | None, console: Console) -> None:
    """Print each site's problems and what it has, and then what is of several sites or of the machine.

    Of spacings and sizes it prints the smallest, the median and the largest.
    """
    for report in found.sites:
        console.print(Text(f"{report.site.name}: {_verdict(report.findings)}", style="bold"))
        _show_findings(report.findings, console, prefix=f"{report.site.name}/")
        _show_summary(report, job, console)
    if found.overall:
        console.print(Text(f"overall: {_verdict(found.overall)}", style="bold"))
        _show_findings(found.overall, console)


def show_comparison(found: Comparison, console: Console) -> None:
    """Print how many cases each datalist has, and what two of them share."""
    for name, listed in found.lists.items():
        console.print(f"{name}: {len(listed.names)} cases, {len(listed.series)} with a series UID", markup=False)
    console.print(Text(_verdict(found.findings), style="bold"))
    _show_findings(found.findings, console)


def _verdict(findings: Sequence[Finding]) -> str:
    counts = by_severity(findings)
    return ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in counts.items() if n) or "nothing is wrong"


def _show_findings(findings: Sequence[Finding], console: Console, prefix: str = "") -> None:
    """Print a row for each kind of problem; numbers in it are those of the first file."""
    if not findings:
        return
    table = Table(show_lines=True, expand=True)
    table.add_column("", no_wrap=True)
    table.add_column("problem", ratio=3)
    table.add_column("what to do", ratio=2)
    for group in grouped(findings):
        first = group[0]
        kind = Text(first.severity, style=_STYLES[first.severity])
        table.add_row(kind, _described(group, prefix), Text(first.fix))
    console.print(table, soft_wrap=False)


def _described(group: Sequence[Finding], prefix: str) -> Text:
    places = [finding.where.removeprefix(prefix) for finding in group]
    count = f"{len(places)} times, first: " if len(places) > 1 else ""
    return Text.assemble(group[0].problem, "\n", (count + few(places), "dim"))


def _show_summary(report: SiteReport, job: Job | None, console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    for name, values in _rows(summarise(report, job)).items():
        if values:
            table.add_row(Text(name, style="dim"), Columns([Text(value) for value in values], padding=(0, 2)))
    console.print(Padding(table, (0, 0, 1, 2), expand=False), soft_wrap=False)


def _rows(summary: Summary) -> dict[str, list[str]]:
    return {
        "cases": [f"{split}: {n} ({summary.labelled[split]} labelled)" for split, n in summary.cases.items()],
        "cases by class": [f"{name}: {count}" for name, count in summary.classes.items()],
        "spacing (mm)": _spreads(summary.spacing, "{:.3g}"),
        "size (voxels)": _spreads(summary.size, "{:.0f}"),
    }


def _spreads(spreads: Mapping[str, Spread], form: str) -> list[str]:
    return [f"{axis}: {' – '.join(map(form.format, spread))}" for axis, spread in spreads.items()]
