"""Commands for a real federation on one machine: start it, look at it, end it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fedswin.cli.options import JsonOption
from fedswin.cli.screen import console, print_jobs, print_json, stderr

if TYPE_CHECKING:
    from fedswin.operations.jobs import JobEntry
    from fedswin.operations.local_federation import FederationState

app = typer.Typer(help="A real federation on this machine, to try what hospitals will have.", no_args_is_help=True)

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that was --out of up.")]


@app.command()
def up(
    out: Annotated[Path, typer.Option("--out", help="The folder of the federation; one that exists is started again.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="The folder of the site folders, or a scenario (YAML).")
    ] = None,
    sites: Annotated[int | None, typer.Option(help="Only so many of the sites, the first ones.", min=1)] = None,
    port: Annotated[
        int | None, typer.Option(help="The server's port. Default: one that is free.", min=1, max=65535)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Start a server and sites as processes in the background, over mutual TLS, and say what to type next.

    The sites train on the CPU, unless CUDA_VISIBLE_DEVICES names GPUs.

    Example: fedswin federation up --data sites --out fed --sites 3
    """
    from fedswin.operations import local_federation as operation
    from fedswin.operations.made_sites import resolve_sites

    where = resolve_sites(data, out, console=stderr) if data else None
    with stderr.status("The server and the sites are starting"):
        is_started = operation.up(out, where, count=sites, port=port)
    if json:
        print_json(operation.status(out).as_dict())
        return
    state = operation.local_state(out)
    if not is_started:
        console.print(f"{out} is up already, since {state.since('server')}", markup=False)
    _print_next(out, state)


@app.command()
def status(folder: FolderArgument, json: JsonOption = False) -> None:
    """Say which processes of a federation run, which sites are connected, and which jobs there are.

    Example: fedswin federation status fed
    """
    from fedswin.operations.local_federation import status as run

    state = run(folder)
    if json:
        print_json(state.as_dict())
    elif not state.processes:
        console.print(f"{folder} is down. Start it: fedswin federation up --out {_quoted(folder)}", markup=False)
    else:
        _print_state(folder, state)


@app.command()
def down(folder: FolderArgument, json: JsonOption = False) -> None:
    """End the processes that up has started, and their jobs. Kits, jobs and studies stay, for the next up.

    Example: fedswin federation down fed
    """
    from fedswin.operations.local_federation import down as run

    aborted = run(folder)
    if json:
        print_json({"folder": str(folder.resolve()), "aborted": [job._asdict() for job in aborted]})
    else:
        _print_down(folder, aborted)


def _print_next(out: Path, state: FederationState) -> None:
    names = ", ".join(state.sites)
    console.print(f"{out}: a server on port {state.port} and its sites, {names}, in the background", markup=False)
    console.print("Next, in this shell:")
    for line in (
        f"export FEDSWIN_KIT={_quoted(state.kit)}",
        "fedswin submit jobs/demo/pretrain.yaml   # prints the job's id",
        "fedswin monitor JOB_ID",
        "fedswin fetch JOB_ID --out RUN --wait",
        f"fedswin federation down {_quoted(out)}",
    ):
        console.print(f"  {line}", markup=False)


def _print_state(folder: Path, state: FederationState) -> None:
    console.print(f"{folder}: port {state.port}", markup=False)
    table = Table("process", "pid", "since", "connected")
    for kit in ("server", *state.sites):
        process = state.processes.get(kit)
        connected = "" if kit == "server" else "yes" if kit in state.connected else "no"
        table.add_row(kit, str(process.pid) if process else "", state.since(kit) or "has ended", connected)
    console.print(table)
    if state.problem:
        console.print(state.problem, markup=False)
    elif state.jobs:
        print_jobs(state.jobs)
    else:
        console.print("No job has been submitted.")


def _print_down(folder: Path, aborted: list[JobEntry]) -> None:
    console.print(f"{folder} is down. Its kits, jobs and studies stay", markup=False)
    for job in aborted:
        console.print(f"Job {job.id}, {job.name}, had not ended. After the next up, go on with it:", markup=False)
        console.print(f"  fedswin submit JOB --resume {job.id}", markup=False)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
