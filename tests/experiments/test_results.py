"""The page of all experiments: written from plans and rows, and the one that ships agrees with its CSVs."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest

from experiments.studies import row, write_plan
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import cells_of, key_of
from fedswin.experiments.plan import Plan, load_plan
from fedswin.experiments.results import refuse_page, render_results, write_table_and_plot
from fedswin.experiments.rows import rows_of, write_rows

SIMULATOR = Path(__file__).parents[2] / "simulator"
PLANS = sorted((SIMULATOR / "plans").glob("*.yaml"))
UNRECORDED = ("figure_6_decathlon", "head_neck")  # its collections and GPUs are not here; it has not run yet
PAPER = tuple(path.stem for path in PLANS if path.stem.endswith("_btcv") or path.stem.startswith("tables_"))
"""The paper's own experiments, whose data are not here: they have no place on the page."""
RECORDED = [path for path in PLANS if path.stem not in (*UNRECORDED, *PAPER)]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return write_plan(tmp_path, reading="More is better.", description="A collection.")


def write_some(plan: Plan, folder: Path, number: int) -> None:
    cells = cells_of(plan)[:number]
    write_rows(
        folder / "plan.csv",
        [row(cell, {"a/1": 0.1 * (n + 1)}, key_of(plan, cell)) for n, cell in enumerate(cells)],
    )


def test_the_page_that_ships_is_what_its_plans_and_rows_say() -> None:
    page = (SIMULATOR / "RESULTS.md").read_text()
    order = [SIMULATOR / name for name in re.findall(r"^`fedswin experiment (plans/\S+)", page, re.MULTILINE)]
    assert sorted(order) == [path for path in PLANS if path.stem not in PAPER]
    written = render_results([load_plan(path) for path in order], SIMULATOR / "results", SIMULATOR / "RESULTS.md")
    assert page == written, "write it again with 'make results'"


@pytest.mark.parametrize("path", RECORDED, ids=[path.stem for path in RECORDED])
def test_the_table_that_ships_is_what_its_rows_say(path: Path, tmp_path: Path) -> None:
    plan, results = load_plan(path), SIMULATOR / "results"
    shutil.copy(results / f"{plan.name}.csv", tmp_path)
    write_table_and_plot(plan, tmp_path)
    assert (results / f"{plan.name}.md").read_text() == (tmp_path / f"{plan.name}.md").read_text()


@pytest.mark.parametrize("path", PLANS, ids=[path.stem for path in PLANS])
def test_what_is_said_of_results_holds_no_number(path: Path) -> None:
    assert not re.search(r"\d", load_plan(path).settings.reading)


def test_dice_on_the_page_are_means_of_the_csv() -> None:
    with (SIMULATOR / "results" / "sarcoma.csv").open(newline="") as file:
        dice = [
            float(line["dice"]) for line in csv.DictReader(file) if (line["arm"], line["labels"]) == ("scratch", "1")
        ]
    page = (SIMULATOR / "RESULTS.md").read_text()
    section = page.partition("`fedswin experiment plans/sarcoma.yaml")[2]
    [line] = re.findall(r"^\| 1 \| scratch \| [\d ]+ \| ([\d.]+)", section.partition("<details>")[0], re.MULTILINE)
    assert float(line) == pytest.approx(sum(dice) / len(dice), abs=6e-4)


def test_a_page_says_how_much_of_a_plan_has_run(plan: Plan, tmp_path: Path) -> None:
    assert "0 of 4 runs" in render_results([plan], tmp_path, tmp_path / "page.md")
    write_some(plan, tmp_path, 3)
    page = render_results([plan], tmp_path, tmp_path / "page.md")
    assert "3 of 4 runs, seeds 0" in page
    assert "More is better." in page
    assert "A collection." in page
    assert "\n## Does it pay?\n" in page


def test_links_and_commands_start_from_the_page(plan: Plan, tmp_path: Path) -> None:
    write_some(plan, tmp_path, 3)
    page = render_results([plan], tmp_path, tmp_path / "docs" / "page.md")
    assert "`fedswin experiment ../plan.yaml --out ..`" in page
    assert "](../plan.svg)" in page


def test_a_page_replaces_a_page_and_nothing_else(plan: Plan, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    refuse_page(page)
    page.write_text(render_results([plan], tmp_path, page))
    refuse_page(page)
    page.write_text("# Mine\n")
    with pytest.raises(FedSwinError, match="something other than a page of results"):
        refuse_page(page)


def test_table_and_plot_lie_beside_the_csv(plan: Plan, tmp_path: Path) -> None:
    write_table_and_plot(plan, tmp_path)
    assert not (tmp_path / "plan.md").exists()
    write_some(plan, tmp_path, 2)
    write_table_and_plot(plan, tmp_path)
    assert "| scratch | 0 | 0.100 |" in (tmp_path / "plan.md").read_text()
    assert (tmp_path / "plan.svg").read_text().startswith("<?xml")


def test_rows_that_the_plan_does_not_make_are_refused(plan: Plan, tmp_path: Path) -> None:
    write_some(plan, tmp_path, 2)
    changed = write_plan(tmp_path, folds=4)
    with pytest.raises(FedSwinError, match="it or a job has changed since"):
        rows_of(changed, tmp_path)
