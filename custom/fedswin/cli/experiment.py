"""The command that runs what is missing of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedswin.cli.screen import console

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
) -> None:
    """Run what is missing of a plan: a grid of pre-training and fine-tuning.

    OUT/PLAN.csv gets a row when a run is finished; a run that was cut off is gone on with.

    Example: fedswin experiment simulator/plans/phantoms.yaml --out simulator/results --only seed=0
    """
    from fedswin.experiments.experiment import chosen_cells, run_experiment
    from fedswin.experiments.plan import load_plan

    found = load_plan(plan)
    run_experiment(found, out, cells=chosen_cells(found, only or ()), workers=workers, console=console)
