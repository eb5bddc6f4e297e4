"""The command ``fedswin``: each subcommand parses, calls one function, and prints."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from fedswin.config import DataSettings, Job, load_job
from fedswin.errors import FedSwinError

app = typer.Typer(
    help="Pre-train and fine-tune a Swin UNETR on CT together, without sharing a scan.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="Make, split and check site folders.", no_args_is_help=True)
app.add_typer(data_app, name="data")

console = Console(highlight=False, soft_wrap=True)
stderr = Console(highlight=False, soft_wrap=True, stderr=True)

JobArgument = Annotated[Path, typer.Argument(help="The job file.", metavar="JOB")]
SitesOption = Annotated[Path, typer.Option("--data", help="The folder that holds the site folders.")]
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
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last finished round of the run at --out.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Take warnings about the data as errors.")]
KitOption = Annotated[
    Path,
    typer.Option("--kit", envvar="FEDSWIN_KIT", help="The startup kit of a person. Default: $FEDSWIN_KIT."),
]


@data_app.command()
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


@data_app.command()
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


@data_app.command()
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


@app.command()
def simulate(
    job: JobArgument,
    data: SitesOption,
    out: OutOption,
    init: InitOption = None,
    gpus: Annotated[str | None, typer.Option(help="GPUs that the sites share, such as 0,1. Default: none.")] = None,
    resume: ResumeOption = False,
    folds: FoldsOption = None,
    settings: SetOption = None,
    strict: StrictOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Run a job with every site folder as a hospital, in NVFlare's simulator.

    Example: fedswin simulate jobs/demo/pretrain.yaml --data sites --out runs/pretrain
    """
    from fedswin.operations.simulate import simulate as run

    numbers = [int(number) for number in gpus.split(",")] if gpus else []

    def run_one(study: Job, run_folder: Path) -> None:
        run(
            study,
            data,
            run_folder,
            init=init,
            gpus=numbers,
            resume=resume and (folds is None or run_folder.exists()),
            strict=strict,
            overwrite=overwrite,
            console=console,
        )

    _run_folds(run_one, load_job(job, settings or ()), folds, out, overwrite or resume)


@app.command()
def train(
    job: JobArgument,
    data: Annotated[Path, typer.Option("--data", help="A site folder, or a folder of site folders.")],
    out: OutOption,
    pool: Annotated[bool, typer.Option("--pool", help="Train on all sites' cases together.")] = False,
    init: InitOption = None,
    resume: ResumeOption = False,
    folds: FoldsOption = None,
    settings: SetOption = None,
    strict: StrictOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Run a job without a federation: at one site, at each site by itself, or on all cases pooled.

    Given a folder of site folders, each site's run goes to OUT/<site>.

    Example: fedswin train jobs/finetune_btcv.yaml --data sites/hospital_a --out runs/alone
    """
    from fedswin.operations.train import train as run

    def run_one(study: Job, run_folder: Path) -> None:
        run(
            study,
            data,
            run_folder,
            pool=pool,
            init=init,
            resume=resume and (folds is None or run_folder.exists()),
            strict=strict,
            overwrite=overwrite,
            console=console,
        )

    _run_folds(run_one, load_job(job, settings or ()), folds, out, overwrite or resume)


@app.command()
def evaluate(
    models: Annotated[
        list[Path], typer.Argument(help="Weights files, run folders, or folders of folds.", metavar="MODEL…")
    ],
    data: SitesOption,
    out: OutOption,
    split: Annotated[Literal["test", "validation"], typer.Option()] = "test",
    overwrite: OverwriteOption = False,
) -> None:
    """Score segmentation models on every site's cases: Dice, HD95 and NSD of models by sites, a row for each case.

    Each case is scored on its own grid, as predict writes it.

    Example: fedswin evaluate runs/finetune runs/scratch --data sites --out runs/evaluation
    """
    from fedswin.operations import evaluate as evaluation

    evaluation.refuse_evaluation(out, overwrite=overwrite)
    with console.status("") as status:
        results = evaluation.evaluate(models, data, split=split, progress=status.update)
    evaluation.write_evaluation(results, out, split=split)
    console.print(evaluation.render(results))
    console.print(f"{out}: evaluation.json, cases.csv")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="NIfTI files.", metavar="IMAGE…")],
    models: Annotated[
        list[Path],
        typer.Option("--model", help="A weights file, run folder, or folder of folds. Several are an ensemble."),
    ],
    out: OutOption,
    overwrite: OverwriteOption = False,
) -> None:
    """Segment images: a label map for each, on the image's own grid and named like it.

    Example: fedswin predict scans/*.nii.gz --model runs/finetune --out predictions
    """
    from fedswin.operations.predict import predict_images

    classes = predict_images(images, models, out, overwrite=overwrite, console=console)
    table = Table("label", "class")
    for name, value in classes.items():
        table.add_row(str(value), name)
    console.print(table)
    console.print(f"{out}: {len(images)} label maps, labels.json", markup=False)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder or a weights file.")],
    to: Annotated[Literal["encoder", "swinvit"], typer.Option(help="The form of the file.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    which: Annotated[Literal["best", "last"], typer.Option()] = "best",
    overwrite: OverwriteOption = False,
) -> None:
    """Write the encoder for other tools: swinvit is what MONAI's SwinUNETR.load_from reads.

    Example: fedswin export runs/pretrain --to swinvit --out encoder.pt
    """
    from fedswin.weights.export import export as write

    count = write(run, to, out, which=which, overwrite=overwrite)
    console.print(f"{out}: {count} encoder tensors")


@app.command()
def provision(
    consortium: Annotated[Path, typer.Argument(help="Who takes part: a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of kits to write.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write a startup kit for the server, each site and each person of a consortium.

    Example: fedswin provision provisioning/example.yaml --out kits
    """
    from fedswin.operations.provision import provision as run

    for kit in run(consortium, out, overwrite=overwrite):
        console.print(str(kit), markup=False)


@app.command()
def submit(
    job: JobArgument,
    kit: KitOption,
    init: InitOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="JOB_ID", help="Go on with the study of this job, at the sites connected now."
        ),
    ] = None,
    settings: SetOption = None,
) -> None:
    """Submit a job to a running federation, and print its id, alone on stdout.

    With --resume a job that still runs is ended first, after the round that is under way.

    Example: fedswin submit jobs/demo/pretrain.yaml --kit kits/lead@university.org
    """
    from fedswin.operations import submit as operation
    from fedswin.operations.preflight import plan_initial_state

    study = load_job(job, settings or ())
    if resume and init:
        raise FedSwinError("--init starts a study and --resume goes on with one. Give one of the two.")
    if resume:
        print(operation.submit_next_segment(study, resume, kit))
    else:
        print(operation.submit(study, plan_initial_state(study, init, stderr), kit))


@app.command()
def fetch(
    job_id: Annotated[str, typer.Argument(help="The id that submit printed.")],
    kit: KitOption,
    out: OutOption,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Bring the run folder of a job that has ended.

    Example: fedswin fetch JOB_ID --kit kits/lead@university.org --out runs/pretrain
    """
    from fedswin.operations.fetch import fetch as run

    run(job_id, kit, out, wait=wait, overwrite=overwrite)
    _print_outcome(out)


@app.command()
def studies(
    folder: Annotated[Path, typer.Argument(help="The folder 'studies' of a server's or site's kit.")],
    delete: Annotated[
        list[str] | None, typer.Option("--delete", metavar="ID", help="Delete what is kept of it. May be repeated.")
    ] = None,
    idle: Annotated[
        float | None, typer.Option("--delete-idle", metavar="DAYS", help="Delete all that were not used for so long.")
    ] = None,
) -> None:
    """List what a server or a site keeps of its studies, so that they can be resumed, or delete it.

    It is kept until it is deleted here.

    Example: fedswin studies kits/hospital_a/studies --delete-idle 90
    """
    from fedswin.operations.studies import delete_studies, list_studies

    kept = list_studies(folder)
    gone = {*(delete or ()), *(study.id for study in kept if idle is not None and study.idle_days > idle)}
    delete_studies(folder, sorted(gone))
    table = Table("study", "job", "size", "last used")
    for study in kept:
        when = "deleted" if study.id in gone else f"{study.idle_days:.1f} days ago"
        table.add_row(study.id, study.job, f"{study.size / 1e6:.1f} MB", when)
    console.print(table)


def main() -> None:
    """Run the command line; a `FedSwinError` becomes one message and exit code 1."""
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    try:
        app()
    except FedSwinError as error:
        stderr.print(f"Error: {error}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _run_folds(run: Callable[[Job, Path], None], job: Job, folds: str | None, out: Path, overwrite: bool) -> None:
    """Run ``job`` into ``out``, or each of ``folds`` into a folder there."""
    if folds is None:
        run(job, out)
    else:
        from fedswin.operations.folds import parse_folds, run_folds

        run_folds(job, parse_folds(folds), out, overwrite=overwrite, run=run)
    _print_outcome(out)


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"- {note}", markup=False)


def _print_outcome(out: Path) -> None:
    console.print(f"Done. Models, metrics and curves are in {out}", markup=False)
    console.print(f"Look at the curves: tensorboard --logdir {out}", markup=False)
