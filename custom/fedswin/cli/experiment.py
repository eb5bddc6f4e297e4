"""Commands about experiments: running what is missing of one, and writing what they came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from fedswin.cli.options import GpusOption
from fedswin.cli.screen import console

if TYPE_CHECKING:
    from fedswin.experiments.counts import Count

app = typer.Typer()


@app.command()
def experiment(
    plan: Annotated[Path, typer.Argument(help="The plan file.", metavar="PLAN")],
    out: Annotated[Path, typer.Option("--out", help="Where the CSV is, or is to be; what is there is gone on with.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only these runs: axis=value, such as seed=0 or arm=scratch. May be repeated."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="How many runs at the same time.", min=1)] = 1,
    gpus: GpusOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many runs of each kind there are and are missing; run nothing.")
    ] = False,
) -> None:
    """Run what is missing of a plan: a grid of pre-training and fine-tuning.

    OUT/PLAN.csv gets a row when a run is finished, and at the end PLAN.md and PLAN.svg show it. Called again, it goes
    on with what was cut off. The runs lie in OUT/runs, which may be deleted.

    Example: fedswin experiment simulator/plans/phantoms.yaml --out runs/experiments --only seed=0
    """
    from fedswin.experiments.experiment import chosen_cells, count_experiment, run_experiment
    from fedswin.experiments.plan import load_plan
    from fedswin.experiments.results import write_table_and_plot
    from fedswin.operations.simulate import parse_gpus

    found, numbers = load_plan(plan), parse_gpus(gpus) if gpus else []
    cells = chosen_cells(found, only or ())
    if dry_run:
        _print_counts(count_experiment(found, out, cells))
        return
    try:
        run_experiment(found, out, cells=cells, workers=workers, gpus=numbers, console=console)
    finally:
        write_table_and_plot(found, out)
    console.print(f"The rows, the table and the plot: {out}/{found.name}.csv, .md and .svg", markup=False)


def _print_counts(counts: Sequence[Count]) -> None:
    table = Table("", "kind", *(Column(name, justify="right") for name in ("runs", "missing", "steps each")))
    for count in counts:
        table.add_row(count.what, count.kind, str(count.runs), str(count.missing), str(count.steps))
    console.print(table)
    for what in ("encoder", "row"):
        own = [count for count in counts if count.what == what]
        runs, missing = sum(count.runs for count in own), sum(count.missing for count in own)
        console.print(f"{what}s: {missing} of {runs} are missing", markup=False)


@app.command()
def results(
    plans: Annotated[list[Path], typer.Argument(help="The plan files, in their order on the page.", metavar="PLAN…")],
    rows: Annotated[Path, typer.Option("--rows", help="The folder of their CSVs; plots and tables are renewed there.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write (Markdown); an earlier one is replaced.")],
) -> None:
    """Write one page about experiments from their CSVs: tables, plots, and how to read them.

    Example: fedswin results simulator/plans/*.yaml --rows simulator/results --out simulator/RESULTS.md
    """
    from fedswin.durable import write_text_whole
    from fedswin.experiments.plan import load_plan
    from fedswin.experiments.results import refuse_page, render_results, write_table_and_plot

    refuse_page(out)
    found = [load_plan(plan) for plan in plans]
    page = render_results(found, rows, out)
    for plan in found:
        write_table_and_plot(plan, rows)
    write_text_whole(out, page)
    console.print(f"{out}: {len(found)} experiments", markup=False)
