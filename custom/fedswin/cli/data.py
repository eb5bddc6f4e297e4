"""Commands that make, split and check site folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from fedswin.cli.options import JsonOption, OverwriteOption, StrictOption, WorkersOption, half_the_cores
from fedswin.cli.screen import console, print_json, stderr
from fedswin.config import Job, load_job
from fedswin.errors import needs_extra

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
    spacing: Annotated[float, typer.Option(help="Typical voxel size in mm.", min=0.5, max=6)] = 3.0,
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
    workers: WorkersOption = None,
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
    with needs_extra("dicom", "A conversion"):
        from fedswin.data.convert.conversion import convert as run
        from fedswin.data.convert.report import by_reason

    try:
        with console.status("") as status:
            done = run(
                archive,
                out,
                validation=validation,
                test=test,
                seed=seed,
                resample=resample,
                workers=workers or half_the_cores(),
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
    annotated: Annotated[
        Literal["label-maps", "manifest"] | None,
        typer.Option(help="Write what was drawn in each case: what its label map shows, or manifest.json lists."),
    ] = None,
    validation: Annotated[float, typer.Option(help="The share of a site's patients for validation.")] = 0.2,
    test: Annotated[float, typer.Option(help="The share of a site's patients for test.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Draws which patient goes where, and the splits.", min=0)] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write a PNG: who holds which classes and voxel sizes.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Split a collection of CT into site folders, and say who holds what.

    A patient's kind, by dirichlet, is the source, and within it the rarest class that the patient's label maps show.
    Label maps are read for that, for --plot and for --annotated; else only the headers of images are.

    With --annotated, for collections whose cases differ in what was drawn, a structure that a case's label map does not
    show, or the manifest does not list, is no background in training, and is not scored.

    Example: fedswin data shard collection sites --by source

    Example: fedswin data shard collection sites --by iid --sites 3

    Example: fedswin data shard collection sites --by dirichlet --alpha 0.3 --sites 5 --plot who_holds_what.png

    Example: fedswin data shard collection sites --by quantity --sites 5

    Example: fedswin data shard collection sites --by source --annotated label-maps
    """
    from fedswin.data.dealing.shard import shard as write_shard
    from fedswin.data.holdings.table import render_counts, render_holdings

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
            annotated=annotated,
            seed=seed,
            validation=validation,
            test=test,
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
    paths: Annotated[
        list[Path], typer.Argument(help="A site folder, a folder of site folders; or datalists.", metavar="PATH")
    ],
    job: Annotated[Path | None, typer.Option(help="Check that the data fit this job, too.")] = None,
    lists: Annotated[bool, typer.Option("--lists", help="Compare two datalist files or more instead.")] = False,
    strict: StrictOption = False,
    json: JsonOption = False,
    workers: WorkersOption = None,
) -> None:
    """Read every file of a site and say what is wrong, what to do, and what is there.

    Exit code 1 if there is an error, or with --strict a warning; else 0.

    Example: fedswin data check sites/hospital_a --job jobs/finetune_btcv.yaml

    Example: fedswin data check --lists hnscc.json colonography.json
    """
    if lists:
        _check_lists(paths, strict, json)
    elif len(paths) == 1:
        _check_folder(paths[0], load_job(job) if job else None, strict, json, workers or half_the_cores())
    else:
        raise typer.BadParameter("give one folder, or datalist files with --lists")


def _check_folder(folder: Path, job: Job | None, strict: bool, as_json: bool, workers: int) -> None:
    from fedswin.data.check.document import survey_document
    from fedswin.data.check.finding import fatal
    from fedswin.data.check.survey import survey
    from fedswin.data.check.table import show_survey

    with stderr.status("") as status:
        found = survey(folder, job, workers=workers, progress=lambda line: status.update(escape(line)))
    if as_json:
        print_json(survey_document(found, job))
    else:
        show_survey(found, job, console)
    raise typer.Exit(bool(fatal(found.findings, strict=strict)))


def _check_lists(paths: Sequence[Path], strict: bool, as_json: bool) -> None:
    from fedswin.data.check.document import comparison_document
    from fedswin.data.check.finding import fatal
    from fedswin.data.check.lists import compare_lists
    from fedswin.data.check.table import show_comparison

    found = compare_lists(paths)
    if as_json:
        print_json(comparison_document(found))
    else:
        show_comparison(found, console)
    raise typer.Exit(bool(fatal(found.findings, strict=strict)))


def _print_conversion(out: Path, done: Conversion, reasons: Sequence[LeftOut]) -> None:
    splits = ", ".join(f"{count} {split}" for split, count in done.splits.items())
    cases = f"{_counted(len(done.cases), 'case')} of {_counted(done.patients, 'patient')}"
    console.print(f"{out}: {cases}: {splits}", markup=False)
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


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"- {note}", markup=False)
