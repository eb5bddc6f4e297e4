"""The command that measures what FedSwin costs."""

from __future__ import annotations

import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from fedswin.cli.options import OverwriteOption
from fedswin.cli.screen import console

app = typer.Typer()

_REPEATS, _QUICK_REPEATS = 3, 2


@app.command()
def bench(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(help="step, load, exchange, server, federation, infer. Default: all.", metavar="[KIND…]"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A site folder whose CT is used. Default: phantoms.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="How often each side is measured. Default: 3.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: all cores; with --quick 1.", min=1)] = None,
    device: Annotated[Literal["all", "cpu", "cuda"], typer.Option(help="Where networks are measured.")] = "all",
    quick: Annotated[
        bool, typer.Option("--quick", help="Make everything tiny: for the shape of the table, not for its figures.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every sample to this file.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw how costs grow into this SVG.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure what FedSwin costs, next to plain MONAI, a stock NVFlare recipe, and training without a federation.

    Every figure is a ratio of two sides that are measured in turn, so that it holds on a busy machine, too. All takes
    over twenty minutes on two cores.

    Example: fedswin bench step exchange --data sites/hospital_a --json bench.json --plot bench.svg
    """
    from fedswin.benchmarks.plot import draw
    from fedswin.benchmarks.record import record
    from fedswin.benchmarks.run import KINDS, measure, refuse_unknown
    from fedswin.benchmarks.setup import DEVICES, Setup
    from fedswin.benchmarks.table import render
    from fedswin.durable import write_text_whole
    from fedswin.output import refuse_output

    refuse_unknown(kinds or ())
    for path, suffix in ((json_file, ".json"), (plot, ".svg")):
        if path:
            refuse_output(path, overwrite=overwrite, kind=f"a *{suffix} file", is_kind=partial(_is_file, suffix=suffix))
    with tempfile.TemporaryDirectory(prefix="fedswin-bench-") as folder, console.status("") as status:
        setup = Setup(
            Path(folder),
            repeats=repeats or (_QUICK_REPEATS if quick else _REPEATS),
            threads=threads or (1 if quick else os.cpu_count() or 1),
            devices=DEVICES if device == "all" else (device,),
            quick=quick,
            data=data,
            progress=status.update,
        )
        rows = list(measure(kinds or list(KINDS), setup))
    console.print(render(rows, quick=quick))
    if quick:
        console.print("Everything was tiny: these figures say nothing about real ones.")
    for path, text in ((json_file, json.dumps(record(rows, setup), indent=2)), (plot, draw(rows))):
        if path:
            write_text_whole(path, f"{text}\n")
            console.print(f"{path}: written", markup=False)


def _is_file(path: Path, suffix: str) -> bool:
    return path.is_file() and path.suffix == suffix
