"""The page of all experiments, and what one leaves beside its CSV: written from plans and rows, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template

from fedswin.durable import written_whole
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import cells_of, key_of
from fedswin.experiments.plan import Plan
from fedswin.experiments.plot import draw
from fedswin.experiments.rows import Row, csv_of, read_rows
from fedswin.experiments.table import case_table, class_table, table
from fedswin.templates import templates_of


def rows_of(plan: Plan, folder: Path) -> list[Row]:
    """Return the rows of the plan, in the order of its grid.

    Raises:
        FedSwinError: if the CSV has a row that the plan, as it is now, does not make.
    """
    grid = {key_of(plan, cell): cell for cell in cells_of(plan)}
    rows = {row.key: row for row in read_rows(csv_of(folder, plan.name))}
    if strange := rows.keys() - grid.keys():
        raise FedSwinError(
            f"{csv_of(folder, plan.name)}: {len(strange)} rows, such as {min(strange)}, are of no run of {plan.path}: "
            "it or a job has changed since. Run the experiment again, which drops them."
        )
    return [rows[key] for key in grid if key in rows]


def write_table_and_plot(plan: Plan, folder: Path) -> None:
    """Write the plan's table and plot beside its CSV, if that has a row.

    Raises:
        FedSwinError: as `rows_of` and `draw`.
    """
    if rows := rows_of(plan, folder):
        draw(rows, csv_of(folder, plan.name).with_suffix(".svg"))
        text = _template("plan").render(part=_part(plan, rows))
        with written_whole(csv_of(folder, plan.name).with_suffix(".md")) as file:
            file.write(text.encode())


def render_results(plans: Sequence[Plan], folder: Path) -> str:
    """Return the page about ``plans``.

    Args:
        plans: the plans, in their order on the page.
        folder: where their CSVs are; the page lies beside this folder.

    Raises:
        FedSwinError: as `rows_of`.
    """
    rows = {plan.name: rows_of(plan, folder) for plan in plans}
    every = [row for own in rows.values() for row in own]
    return _template("results").render(
        parts=[_part(plan, rows[plan.name]) for plan in plans],
        sizes=_listed(plans, lambda plan: plan.pretraining.model.feature_size),
        machines=_listed(every, lambda row: row.about["machine"]),
        torches=_listed(every, lambda row: row.about["torch"]),
    )


def _template(name: str) -> Template:
    templates = templates_of("fedswin.experiments", autoescape=False, keep_trailing_newline=True)
    return templates.get_template(f"{name}.md.j2")


def _part(plan: Plan, rows: Sequence[Row]) -> dict[str, Any]:
    settings = plan.settings
    return {
        "name": plan.name,
        "question": settings.question,
        "description": settings.description.strip(),
        "reading": settings.reading.strip(),
        "there": len(rows),
        "all": len(cells_of(plan)),
        "seeds": _listed(settings.seeds, str),
        "table": table(rows) if rows else "",
        "classes": class_table(rows) if rows else "",
        "cases": case_table(rows) if rows else "",
    }


def _listed(things: Sequence[Any], text: Callable[[Any], Any]) -> str:
    return ", ".join(dict.fromkeys(str(text(thing)) for thing in things))
