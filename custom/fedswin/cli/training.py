"""Commands that run a job: in the simulator, or without a federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedswin.cli.options import (
    FoldsOption,
    GpusOption,
    InitOption,
    JobArgument,
    OutOption,
    OverwriteOption,
    PicturesOption,
    ResumeOption,
    SetOption,
    SitesOption,
    StrictStartOption,
)
from fedswin.cli.screen import console, print_outcome
from fedswin.config import load_job

app = typer.Typer()


@app.command()
def simulate(
    job: JobArgument,
    data: SitesOption,
    out: OutOption,
    init: InitOption = None,
    gpus: GpusOption = None,
    resume: ResumeOption = False,
    pictures: PicturesOption = False,
    folds: FoldsOption = None,
    settings: SetOption = None,
    strict: StrictStartOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Run a job with every site folder as a hospital, in NVFlare's simulator.

    The sites of a scenario are made beside OUT, once, and found there by all that comes later.

    Example: fedswin simulate jobs/demo/pretrain.yaml --data sites --out runs/pretrain
    """
    from fedswin.operations.folds import is_resumed, plan_runs
    from fedswin.operations.made_sites import resolve_sites
    from fedswin.operations.simulate import parse_gpus
    from fedswin.operations.simulate import simulate as run

    numbers = parse_gpus(gpus) if gpus else []
    runs = plan_runs(load_job(job, settings or ()), folds, out, overwrite=overwrite or resume)
    sites = resolve_sites(data, out, resume=resume, console=console)
    for folder, study in runs.items():
        run(
            study,
            sites,
            folder,
            init=init,
            gpus=numbers,
            resume=is_resumed(folder, folds, resume=resume),
            pictures=pictures,
            strict=strict,
            overwrite=overwrite,
            console=console,
        )
    print_outcome(out)


@app.command()
def train(
    job: JobArgument,
    data: Annotated[Path, typer.Option("--data", help="A site folder, a folder of them, or a scenario (YAML).")],
    out: OutOption,
    pool: Annotated[bool, typer.Option("--pool", help="Train on all sites' cases together.")] = False,
    init: InitOption = None,
    resume: ResumeOption = False,
    pictures: PicturesOption = False,
    folds: FoldsOption = None,
    settings: SetOption = None,
    strict: StrictStartOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Run a job without a federation: at one site, at each site by itself, or on all cases pooled.

    Given a folder of site folders, each site's run goes to OUT/<site>.

    Example: fedswin train jobs/finetune_btcv.yaml --data sites/hospital_a --out runs/alone
    """
    from fedswin.operations.folds import is_resumed, plan_runs
    from fedswin.operations.made_sites import resolve_sites
    from fedswin.operations.train import train as run

    runs = plan_runs(load_job(job, settings or ()), folds, out, overwrite=overwrite or resume)
    sites = resolve_sites(data, out, resume=resume, console=console)
    for folder, study in runs.items():
        run(
            study,
            sites,
            folder,
            pool=pool,
            init=init,
            resume=is_resumed(folder, folds, resume=resume),
            pictures=pictures,
            strict=strict,
            overwrite=overwrite,
            console=console,
        )
    print_outcome(out)
