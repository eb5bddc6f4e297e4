"""Commands that make, split and check site folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from fedswin.cli.options import OverwriteOption
from fedswin.cli.screen import console, stderr
from fedswin.config import DataSettings, load_job
from fedswin.errors import FedSwinError

if TYPE_CHECKING:
    from fedswin.data.convert.conversion import Conversion
    from fedswin.data.convert.source import LeftOut

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
def convert(
    archive: Annotated[Path, typer.Argument(help="A folder of DICOM, NRRD, MetaImage and NIfTI.", metavar="SRC")],
    out: Annotated[Path, typer.Argument(help="The site folder to write.")],
    validation: Annotated[float, typer.Option(help="The share of the patients for validation.")] = 0.2,
    test: Annotated[float, typer.Option(help="The share of the patients for test.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Draws the splits.", min=0)] = 0,
    resample: Annotated[
        bool, typer.Option("--resample", help="Interpolate tilted or uneven stacks onto a regular grid.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Number of processes. Default: half the cores.", min=1)] = max(
        1, (os.cpu_count() or 1) // 2
    ),
    timeout: Annotated[float, typer.Option(help="Seconds that one volume may take.", min=1)] = 600,
    keep_map: Annotated[
        Path | None, typer.Option(help="Write which case was which patient and files; without it nothing tells.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a conversion that was stopped.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Name the files that are left out.")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Turn an archive of CT into a site folder that says nothing of where it came from.

    Patients and cases get names drawn by chance; what is left out is told with the reason and what to do.

    Example: fedswin data convert archive sites/hospital_a --workers 4
    """
    try:
        from fedswin.data.convert.conversion import convert as run
        from fedswin.data.convert.report import by_reason
    except ModuleNotFoundError as error:
        raise FedSwinError(f'A conversion needs {error.name}: pip install "fedswin[dicom]"') from None

    try:
        with console.status("") as status:
            done = run(
                archive,
                out,
                validation=validation,
                test=test,
                seed=seed,
                resample=resample,
                workers=workers,
                timeout=timeout,
                keep_map=keep_map,
                resume=resume,
                overwrite=overwrite,
                progress=status.update,
            )
    except KeyboardInterrupt:
        stderr.print("Stopped. The same command with --resume goes on.")
        raise
    _print_conversion(out, done, by_reason(done.left_out))
    if verbose:
        _print_notes([f"{item.files[0]} (files: {len(item.files)}): {item.reason}" for item in done.left_out])


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


def _print_conversion(out: Path, done: Conversion, reasons: Sequence[LeftOut]) -> None:
    splits = ", ".join(f"{count} {split}" for split, count in done.splits.items())
    console.print(f"{out}: {len(done.cases)} cases of {done.patients} patients: {splits}", markup=False)
    converted = Table("converted from", "cases", "with label map")
    for form in sorted({case.form for case in done.cases}):
        labelled = [case.label is not None for case in done.cases if case.form == form]
        converted.add_row(form, str(len(labelled)), str(sum(labelled)))
    console.print(converted)
    if reasons:
        left_out = Table("left out", "files", "what to do")
        for item in reasons:
            left_out.add_row(item.reason, str(len(item.files)), item.fix)
        console.print(left_out)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"- {note}", markup=False)
