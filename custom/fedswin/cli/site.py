"""Commands of whoever runs a site, or the server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fedswin.cli.options import JsonOption, WorkersOption, half_the_cores
from fedswin.cli.screen import console, print_json, stderr
from fedswin.config import load_job

if TYPE_CHECKING:
    from fedswin.kits.check.result import Result

app = typer.Typer(help="Check and start the kit of a site, or the server's.", no_args_is_help=True)

KitArgument = Annotated[Path, typer.Argument(metavar="KIT", help="The folder that holds 'startup' and 'local'.")]

_STYLES = {"ok": "green", "warning": "yellow", "error": "red", "not done": "dim"}


@app.command()
def check(
    kit: KitArgument,
    authority: Annotated[
        str | None, typer.Option(metavar="FINGERPRINT", help="What the study lead says the authority's fingerprint is.")
    ] = None,
    job: Annotated[Path | None, typer.Option(help="Check that the data fit this job, too.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave the network alone.")] = False,
    json: JsonOption = False,
    workers: WorkersOption = None,
) -> None:
    """Say whether a kit can be started here: its files, the network, this machine, the data.

    Exit code 1 if there is an error, else 0.

    Example: fedswin site check kits/hospital_a
    """
    from fedswin.kits.check.full import check_kit

    study, results = load_job(job) if job else None, []
    with stderr.status("") as status:
        for result in check_kit(
            kit,
            authority=authority,
            job=study,
            offline=offline,
            workers=workers or half_the_cores(),
            progress=lambda line: status.update(escape(line)),
        ):
            results.append(result)
            if not json:
                _print_result(result)
    if json:
        print_json({"kit": str(kit), "results": [asdict(result) for result in results]})
    raise typer.Exit(any(result.state == "error" for result in results))


@app.command()
def start(kit: KitArgument) -> None:
    """Start the process of a kit and stay in the foreground until it is ended, as a service manager wants it.

    A kit that was altered, or whose certificate has ended, is not started.

    Example: fedswin site start kits/hospital_a
    """
    from fedswin.kits.start import start as run

    run(kit, lambda line: console.print(line, markup=False))


def _print_result(result: Result) -> None:
    console.print(f"[{_STYLES[result.state]}]{result.state:8}[/] {escape(str(result))}")
