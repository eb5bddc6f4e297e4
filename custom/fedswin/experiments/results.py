"""The page of all experiments, and what one leaves beside its CSV: written from plans and rows, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template

from fedswin.durable import write_text_whole
from fedswin.experiments.cells import cells_of
from fedswin.experiments.conclusions import conclusions
from fedswin.experiments.learning import with_later_verdicts
from fedswin.experiments.plan import Plan, PlanSettings
from fedswin.experiments.plot import draw
from fedswin.experiments.rows import Row, csv_of, rows_of
from fedswin.experiments.summary import summarize, varying_axes
from fedswin.experiments.table import case_table, class_table, table
from fedswin.output import refuse_output
from fedswin.templates import templates_of

_TITLE = "# Results: what pre-training is worth, alone, federated and pooled"


def write_table_and_plot(plan: Plan, folder: Path) -> None:
    """Write the plan's table and plot beside its CSV, if that has a row.

    Raises:
        FedSwinError: as `rows_of` and `draw`.
    """
    if rows := rows_of(plan, folder):
        path = csv_of(folder, plan.name)
        draw(with_later_verdicts(plan, rows), path.with_suffix(".svg"))
        write_text_whole(path.with_suffix(".md"), _template("plan").render(part=_part(plan, rows)))


def refuse_page(out: Path) -> None:
    """Make sure that the page may be written to ``out``.

    Raises:
        FedSwinError: if something else is there.
    """
    refuse_output(out, overwrite=True, kind="a page of results", is_kind=_is_page)


def render_results(plans: Sequence[Plan], folder: Path, out: Path) -> str:
    """Return the page about ``plans``.

    Args:
        plans: the plans, in their order on the page.
        folder: where their CSVs, tables and plots are.
        out: where the page is going to lie: links and commands start from its folder.

    Raises:
        FedSwinError: as `rows_of`.
    """
    rows = {plan.name: rows_of(plan, folder) for plan in plans}
    every = [row for own in rows.values() for row in own]
    return _template("results").render(
        title=_TITLE,
        folder=os.path.relpath(folder, out.parent),
        parts=[{**_part(plan, rows[plan.name]), "path": os.path.relpath(plan.path, out.parent)} for plan in plans],
        machines=_listed(every, lambda row: row.about["machine"]),
        torches=_listed(every, lambda row: row.about["torch"]),
    )


def _is_page(path: Path) -> bool:
    return path.is_file() and path.read_text(errors="replace").startswith(_TITLE)


def _template(name: str) -> Template:
    templates = templates_of("fedswin.experiments", autoescape=False, keep_trailing_newline=True)
    return templates.get_template(f"{name}.md.j2")


def _part(plan: Plan, rows: Sequence[Row]) -> dict[str, Any]:
    settings, axes = plan.settings, varying_axes(rows)
    summaries = summarize(with_later_verdicts(plan, rows), settings.end_points)
    return {
        "name": plan.name,
        "question": settings.question,
        "description": settings.description.strip(),
        "reading": settings.reading.strip(),
        "there": len(rows),
        "all": len(cells_of(plan)),
        "seeds": _seeds(settings),
        "conclusions": conclusions(plan, summaries, axes),
        "table": table(summaries, axes),
        "classes": class_table(summaries, axes),
        "cases": case_table(summaries, axes),
    }


def _seeds(settings: PlanSettings) -> str:
    if settings.seeds:
        return f"seeds {_listed(settings.seeds, str)}"
    encoders, finetuning = _listed(settings.encoder_seeds, str), _listed(settings.finetune_seeds, str)
    return f"seeds of pre-training {encoders}, of fine-tuning {finetuning}"


def _listed(things: Sequence[Any], text: Callable[[Any], Any]) -> str:
    return ", ".join(dict.fromkeys(str(text(thing)) for thing in things))
