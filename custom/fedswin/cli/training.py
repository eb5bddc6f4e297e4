"""Commands that run a job: in the simulator, or without a federation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fedswin.cli.options import (
    FoldsOption,
    InitOption,
    JobArgument,
    OutOption,
    OverwriteOption,
    ResumeOption,
    SetOption,
    SitesOption,
    StrictOption,
)
from fedswin.cli.screen import console, print_outcome
from fedswin.config import Job, load_job

app = typer.Typer()


@app.command()
def simulate(
    job: JobArgument,
    data: SitesOption,
    out: OutOption,
    init: InitOption = None,
    gpus: Annotated[str | None, typer.Option(help="GPUs that the sites share, such as 0,1. Default: none.")] = None,
    resume: ResumeOption = False,
    folds: FoldsOption = None,
    settings: SetOption = None,
    strict: StrictOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Run a job with every site folder as a hospital, in NVFlare's simulator.

    Example: fedswin simulate jobs/demo/pretrain.yaml --data sites --out runs/pretrain
    """
    from fedswin.operations.simulate import simulate as run

    numbers = [int(number) for number in gpus.split(",")] if gpus else []

    def run_one(study: Job, run_folder: Path) -> None:
        run(
            study,
            data,
            run_folder,
            init=init,
            gpus=numbers,
            resume=resume and (folds is None or run_folder.exists()),
            strict=strict,
            overwrite=overwrite,
            console=console,
        )

    _run_folds(run_one, load_job(job, settings or ()), folds, out, overwrite or resume)


@app.command()
def train(
    job: JobArgument,
    data: Annotated[Path, typer.Option("--data", help="A site folder, or a folder of site folders.")],
    out: OutOption,
    pool: Annotated[bool, typer.Option("--pool", help="Train on all sites' cases together.")] = False,
    init: InitOption = None,
    resume: ResumeOption = False,
    folds: FoldsOption = None,
    settings: SetOption = None,
    strict: StrictOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Run a job without a federation: at one site, at each site by itself, or on all cases pooled.

    Given a folder of site folders, each site's run goes to OUT/<site>.

    Example: fedswin train jobs/finetune_btcv.yaml --data sites/hospital_a --out runs/alone
    """
    from fedswin.operations.train import train as run

    def run_one(study: Job, run_folder: Path) -> None:
        run(
            study,
            data,
            run_folder,
            pool=pool,
            init=init,
            resume=resume and (folds is None or run_folder.exists()),
            strict=strict,
            overwrite=overwrite,
            console=console,
        )

    _run_folds(run_one, load_job(job, settings or ()), folds, out, overwrite or resume)


def _run_folds(run: Callable[[Job, Path], None], job: Job, folds: str | None, out: Path, overwrite: bool) -> None:
    """Run ``job`` into ``out``, or each of ``folds`` into a folder there."""
    if folds is None:
        run(job, out)
    else:
        from fedswin.operations.folds import parse_folds, run_folds

        run_folds(job, parse_folds(folds), out, overwrite=overwrite, run=run)
    print_outcome(out)
