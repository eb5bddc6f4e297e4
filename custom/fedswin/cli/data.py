"""Commands that make, split and check site folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from fedswin.cli.options import OverwriteOption
from fedswin.cli.screen import console
from fedswin.config import DataSettings, load_job

app = typer.Typer(help="Make, split and check site folders.", no_args_is_help=True)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist.")],
    sites: Annotated[int, typer.Option(help="Number of hospitals.", min=1)] = 3,
    volumes: Annotated[int, typer.Option(help="Volumes of a hospital, on average.", min=3)] = 6,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.", min=0)] = 0,
    spacing: Annotated[float, typer.Option(help="Typical voxel size in mm.", min=1.0)] = 3.0,
    overwrite: OverwriteOption = False,
) -> None:
    """Write synthetic abdominal CT of several hospitals, with the 13 organs of BTCV.

    Example: fedswin data phantom phantoms --sites 3 --volumes 6 --seed 0
    """
    from fedswin.data.phantom import write_phantoms

    with console.status("") as status:
        folders = write_phantoms(
            out,
            sites=sites,
            volumes=volumes,
            seed=seed,
            spacing=spacing,
            overwrite=overwrite,
            progress=status.update,
        )
    console.print(f"{out}: {len(folders)} sites, {', '.join(folder.name for folder in folders)}")


@app.command()
def shard(
    collection: Annotated[Path, typer.Argument(help="A folder of <source>/<case>, or a datalist file.")],
    out: Annotated[Path, typer.Argument(help="The folder of site folders to write.")],
    by: Annotated[
        Literal["source", "iid", "dirichlet", "quantity"],
        typer.Option(help="One site a source; alike; skewed by the kind of patient; or skewed by size."),
    ],
    sites: Annotated[int | None, typer.Option(help="Number of sites; not by source.", min=1)] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="How much alike sites are, by dirichlet or quantity: 0.1 is skewed, 100 alike. Default: 0.5."
        ),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Glob on <source>/<case>, such as 'sarcoma/*'.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images instead of linking them.")] = False,
    keep_test: Annotated[Path | None, typer.Option(help="What is test in this folder is test here too.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write a PNG: who holds which classes and voxel sizes.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Split a collection of CT into site folders, and say who holds what.

    A patient's kind, by dirichlet, is the source, and within it the rarest class that the patient's label maps show.
    Label maps are read for that, and for --plot; else only the headers of images are.

    Example: fedswin data shard collection sites --by source

    Example: fedswin data shard collection sites --by iid --sites 3

    Example: fedswin data shard collection sites --by dirichlet --alpha 0.3 --sites 5 --plot who_holds_what.png

    Example: fedswin data shard collection sites --by quantity --sites 5
    """
    from fedswin.data.holdings_table import render_counts, render_holdings
    from fedswin.data.shard import shard as write_shard

    with console.status("") as status:
        result = write_shard(
            collection,
            out,
            by=by,
            sites=sites,
            alpha=alpha,
            only=only,
            copy=copy,
            keep_test=keep_test,
            seed=seed,
            plot=plot,
            overwrite=overwrite,
            progress=status.update,
        )
    if result.kinds:
        console.print(render_counts("patients of the kind", result.kinds))
    console.print(render_holdings(result.holdings))
    _print_notes(result.messages)


@app.command()
def make(
    scenario: Annotated[Path, typer.Argument(help="A scenario file (YAML).")],
    out: Annotated[Path, typer.Argument(help="The folder of site folders to write.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Make the sites of a scenario, as simulate, train and evaluate do it with --data SCENARIO.

    Example: fedswin data make simulator/three_phantom_hospitals.yaml sites
    """
    from fedswin.operations.made_sites import make_sites
    from fedswin.operations.scenario import load_scenario

    make_sites(load_scenario(scenario), out, overwrite=overwrite, console=console)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A site folder, or a folder of site folders.")],
    job: Annotated[Path | None, typer.Option(help="Check labels against this job's classes.")] = None,
) -> None:
    """Read every case of a site and say what is wrong with it; exit 1 if anything is.

    Example: fedswin data check sites/hospital_a --job jobs/finetune_btcv.yaml
    """
    from fedswin.data.check import check_site
    from fedswin.data.datalist import DATALIST, read_site, site_folders

    settings = load_job(job) if job else None
    read_labels = settings is None or settings.task == "finetune"
    labels = settings.segmentation if settings else None
    channels = (settings.data if settings else DataSettings()).channels
    folders = [folder] if (folder / DATALIST).exists() else list(site_folders(folder).values())
    findings = []
    for site in map(read_site, folders):
        found = check_site(site, labels=labels, read_labels=read_labels, channels=channels)
        cases = sum(len(cases) for cases in site.splits.values())
        console.print(f"{site.name}: {cases} cases, {len(found)} problems")
        findings += found
    _print_notes([str(finding) for finding in findings])
    if findings:
        raise typer.Exit(1)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"- {note}", markup=False)
