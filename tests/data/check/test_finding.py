"""Findings that say the same are one group, and what they are about has a name for people."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from fedswin.data.check.finding import Finding, fatal, few, grouped, place
from fedswin.data.check.site import SiteReport
from fedswin.data.check.survey import Survey
from fedswin.data.check.table import show_survey
from fedswin.data.datalist import Site


def finding(problem: str, where: str = "a/x", severity: Literal["error", "warning"] = "error") -> Finding:
    return Finding(severity, where, problem, "Mend it.")


def test_problems_that_differ_only_in_numbers_are_one_group_and_errors_come_first() -> None:
    shift = [finding(f"{share}% lie within 800..1250", f"a/{share}", "warning") for share in (51, 7, 100)]
    values = [finding(f"unknown label values: {some}") for some in ("7", "9, 11, 0.5")]
    other = finding("is 4-D")
    assert grouped([shift[0], values[0], shift[1], other, values[1], shift[2]]) == [values, [other], shift]


def test_a_warning_and_an_error_of_the_same_words_are_two_groups() -> None:
    pair = [finding("is 4-D", severity="warning"), finding("is 4-D")]
    assert grouped(pair) == [[pair[1]], [pair[0]]]


def test_only_strictly_a_warning_is_fatal() -> None:
    pair = [finding("x"), finding("y", severity="warning")]
    assert (fatal(pair), fatal(pair, strict=True), fatal([])) == ([pair[0]], pair, [])


@pytest.mark.parametrize(("count", "named"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 …")])
def test_a_few_are_three(count: int, named: str) -> None:
    assert few([str(number) for number in range(count)]) == named


@pytest.mark.parametrize(
    ("path", "name"),
    [("images/x.nii", "north/images/x.nii"), ("images/../x.nii", "north/x.nii"), ("../x.nii", "../x.nii")],
)
def test_a_file_is_named_by_site_if_it_does_not_leave_the_folder(tmp_path: Path, path: str, name: str) -> None:
    site = Site("north", tmp_path / "north")
    assert place(site, site.folder / path) == (str(site.folder / path) if name.startswith("..") else name)


@pytest.mark.parametrize("width", [80, 120])
def test_a_hundred_cases_of_one_problem_are_one_row_within_the_terminal(tmp_path: Path, width: int) -> None:
    long = "images/" + "ein_sehr_langer_name_" * 8 + "{}.nii.gz"
    findings = [finding(f"lies up to {number} mm off its image", f"a/{long.format(number)}") for number in range(100)]
    site = Site("a", tmp_path, {"training": [], "validation": [], "test": []})
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    show_survey(Survey([SiteReport(site, findings, [])], []), None, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.startswith("a: 100 errors\n")
    assert shown.count("mm off") == 1
    assert "100 times, first: " in " ".join(shown.replace("│", " ").split())
    assert max(map(len, shown.splitlines())) <= width
