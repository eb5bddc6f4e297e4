"""The command that tells what runs came to, for people who did not run them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedswin.cli.options import OverwriteOption
from fedswin.cli.screen import console

app = typer.Typer()


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, folders of folds, or folders of runs.", metavar="RUN…")
    ],
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")],
    evaluation: Annotated[
        Path | None, typer.Option("--evaluation", help="The folder that 'fedswin evaluate' wrote, to show its scores.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write one HTML page of one or several runs: who trained what, the scores by site and class, what went wrong.

    It loads nothing from elsewhere, and it reads the shared part of the runs alone.

    Example: fedswin report runs/finetune runs/scratch runs/local --evaluation runs/evaluation --out report.html
    """
    from fedswin.report.evaluation import read_evaluation
    from fedswin.report.facts import gather
    from fedswin.report.page import refuse_report, write_report

    refuse_report(out, overwrite=overwrite)
    write_report(gather(runs), read_evaluation(evaluation) if evaluation else None, out)
    console.print(f"{out}: {out.stat().st_size / 1e3:.0f} kB, for any browser", markup=False)
