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
    by: Annotated[Literal["source", "iid"], typer.Option(help="One site a source, or by chance.")],
    sites: Annotated[int | None, typer.Option(help="Number of sites, for iid.", min=1)] = None,
    only: Annotated[str | None, typer.Option(help="Glob on <source>/<case>, such as 'sarcoma/*'.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images instead of linking them.")] = False,
    keep_test: Annotated[Path | None, typer.Option(help="What is test in this folder is test here too.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Split a collection of CT into site folders.

    Example: fedswin data shard collection sites --by source
    """
    from fedswin.data.shard import shard as write_shard

    result = write_shard(
        collection,
        out,
        by=by,
        sites=sites,
        only=only,
        copy=copy,
        keep_test=keep_test,
        seed=seed,
        overwrite=overwrite,
    )
    for name, counts in result.sites.items():
        console.print(f"{name}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    _print_notes(result.messages)


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
