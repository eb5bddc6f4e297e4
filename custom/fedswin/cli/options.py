"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

JobArgument = Annotated[Path, typer.Argument(help="The job file.", metavar="JOB")]
SitesOption = Annotated[Path, typer.Option("--data", help="The folder of the site folders, or a scenario (YAML).")]
OutOption = Annotated[Path, typer.Option("--out", help="Where to write; it must not exist.")]
InitOption = Annotated[
    Path | None,
    typer.Option(
        "--init", help="Start from this weights file, such as model_swinvit.pt, or the best model of this run."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of the job: section.key=value. May be repeated."),
]
FoldsOption = Annotated[
    str | None,
    typer.Option("--folds", help="Cross-validate: these folds, such as 0-4, each into OUT/fold<number>."),
]
GpusOption = Annotated[
    str | None, typer.Option("--gpus", help="GPUs that the sites share, such as 0,1. Default: none.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last finished round of the run at --out.")]
PicturesOption = Annotated[
    bool,
    typer.Option(
        "--pictures",
        help="Copy the pictures that each site draws, which show its patients, into the shared part of OUT: "
        "OUT/tensorboard/SITE/pictures.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Take warnings about the data as errors.")]
StrictStartOption = Annotated[
    bool,
    typer.Option("--strict", help="Take warnings about the data, and about the encoder of --init, as errors."),
]
StrictInitOption = Annotated[
    bool, typer.Option("--strict", help="Refuse an encoder of --init whose pre-training did not learn.")
]
KitOption = Annotated[
    Path,
    typer.Option("--kit", envvar="FEDSWIN_KIT", help="The startup kit of a person. Default: $FEDSWIN_KIT."),
]
CodeOption = Annotated[
    Literal["installed", "shipped"],
    typer.Option(
        "--code",
        help="Run the fedswin that is installed at the sites, or ship this one in the job, if each site allows it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
OptionalKitOption = Annotated[
    Path | None,
    typer.Option("--kit", envvar="FEDSWIN_KIT", help="The startup kit of a person, for a job. Default: $FEDSWIN_KIT."),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="How many are read at the same time. Default: half the cores.", min=1)
]


def half_the_cores() -> int:
    """Return how many workers there are unless somebody says otherwise."""
    return max(1, (os.cpu_count() or 1) // 2)
