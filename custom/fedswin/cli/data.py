"""Commands that make, split and check site folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import cpu_count
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from fedswin.cli.options import OverwriteOption, StrictOption
from fedswin.cli.screen import console, stderr
from fedswin.config import Job, load_job

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
    paths: Annotated[
        list[Path], typer.Argument(help="A site folder, a folder of site folders; or datalists.", metavar="PATH")
    ],
    job: Annotated[Path | None, typer.Option(help="Check that the data fit this job, too.")] = None,
    lists: Annotated[bool, typer.Option("--lists", help="Compare two datalist files or more instead.")] = False,
    strict: StrictOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    workers: Annotated[int | None, typer.Option(help="Cases read at a time. Default: half the cores.", min=1)] = None,
) -> None:
    """Read every file of a site and say what is wrong, what to do, and what is there.

    Exit code 1 if there is an error, or with --strict a warning; else 0.

    Example: fedswin data check sites/hospital_a --job jobs/finetune_btcv.yaml

    Example: fedswin data check --lists hnscc.json colonography.json
    """
    if lists:
        _check_lists(paths, strict, as_json)
    elif len(paths) == 1:
        _check_folder(paths[0], load_job(job) if job else None, strict, as_json, workers)
    else:
        raise typer.BadParameter("give one folder, or datalist files with --lists")


def _check_folder(folder: Path, job: Job | None, strict: bool, as_json: bool, workers: int | None) -> None:
    from fedswin.data.check.document import survey_document
    from fedswin.data.check.finding import fatal
    from fedswin.data.check.survey import survey
    from fedswin.data.check.table import show_survey

    workers = workers or max(1, (cpu_count() or 1) // 2)
    with stderr.status("") as status:
        found = survey(folder, job, workers=workers, progress=lambda line: status.update(escape(line)))
    if as_json:
        _print_json(survey_document(found, job))
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
        _print_json(comparison_document(found))
    else:
        show_comparison(found, console)
    raise typer.Exit(bool(fatal(found.findings, strict=strict)))


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2))


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"- {note}", markup=False)
