"""Commands that use a model: score it, segment with it, hand it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from fedswin.cli.options import OutOption, OverwriteOption, SitesOption
from fedswin.cli.screen import console
from fedswin.errors import FedSwinError

app = typer.Typer()


@app.command()
def evaluate(
    models: Annotated[
        list[Path], typer.Argument(help="Weights files, run folders, or folders of folds.", metavar="MODEL…")
    ],
    data: SitesOption,
    out: OutOption,
    split: Annotated[Literal["test", "validation"], typer.Option(help="Which cases are scored.")] = "test",
    overwrite: OverwriteOption = False,
) -> None:
    """Score segmentation models on every site's cases: Dice, HD, HD95 and NSD of models by sites, a row for each case.

    Each case is scored on its own grid, as predict writes it.

    Example: fedswin evaluate runs/finetune runs/scratch --data sites --out runs/evaluation
    """
    from fedswin.operations import evaluate as evaluation
    from fedswin.operations.made_sites import resolve_sites

    evaluation.refuse_evaluation(out, overwrite=overwrite)
    sites = resolve_sites(data, out, console=console)
    with console.status("") as status:
        results = evaluation.evaluate(models, sites, split=split, progress=status.update)
    evaluation.write_evaluation(results, out, split=split)
    console.print(evaluation.render(results))
    console.print(f"{out}: evaluation.json, cases.csv", markup=False)


@app.command()
def compare(
    models: Annotated[
        list[Path], typer.Argument(help="Weights files, run folders, or folders of folds.", metavar="RUN…")
    ],
    data: SitesOption,
    out: Annotated[Path, typer.Option("--out", help="The PNG to write; it must not exist.")],
    split: Annotated[Literal["test", "validation"], typer.Option(help="Which cases are drawn.")] = "test",
    cases: Annotated[
        list[str] | None,
        typer.Option(
            "--case",
            help="A case, such as hospital_a/case05; may be repeated. Default: of each site those with the worst, the "
            "median and the best Dice of the first model.",
        ),
    ] = None,
    slices: Annotated[
        list[int] | None,
        typer.Option(
            "--slice",
            help="The axial slice of a --case, from 1 at the feet; one for each. Default: the one with most classes.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw models side by side on slices of the same cases, with the image, the reference and the Dice of each.

    Images are segmented as evaluate does it. The picture, a PNG, shows patients. It needs matplotlib:
    pip install "fedswin\\[report]".

    Example: fedswin compare runs/finetune runs/scratch --data sites --out comparison.png

    Example: fedswin compare runs/finetune --data sites --case hospital_a/case05 --slice 41 --out case05.png
    """
    from fedswin.operations import compare as comparison
    from fedswin.operations.made_sites import resolve_sites

    comparison.refuse_comparison(out, overwrite=overwrite)
    sites = resolve_sites(data, out, console=console)
    with console.status("") as status:
        drawn = comparison.compare(
            models,
            sites,
            out,
            split=split,
            cases=cases or (),
            slices=slices or (),
            progress=lambda line: status.update(escape(line)),
        )
    table = Table("case", "axial slice", "why")
    for row in drawn:
        table.add_row(escape(row.case), str(row.slice), row.why or "named")
    console.print(table)
    console.print(f"{out} shows patients: keep it where their images may be.", markup=False)


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
    to: Annotated[
        Literal["encoder", "swinvit", "bundle", "torchscript", "onnx"] | None, typer.Option(help="The form.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="What to write; it must not exist.")] = None,
    which: Annotated[Literal["best", "last"], typer.Option(help="The best or the last model.")] = "best",
    overwrite: OverwriteOption = False,
    verify: Annotated[
        Path | None, typer.Option("--verify", help="Only check that this file holds the run's best or last model.")
    ] = None,
) -> None:
    """Write a model in the form that another tool loads, with a model card beside it or in it.

    encoder is a weights file of FedSwin, swinvit what MONAI's SwinUNETR.load_from and the published fine-tuning script
    read; bundle is a MONAI bundle, which segments a scan without FedSwin; torchscript and onnx are the network of one.

    Example: fedswin export runs/pretrain --to swinvit --out encoder.pt
    """
    from fedswin.exporting.export import export as write
    from fedswin.exporting.verify import verify as check

    if verify and (to or out):
        raise FedSwinError("--verify only checks a file. Leave it out to write one, or leave out --to and --out.")
    if verify:
        for line in check(run, verify):
            console.print(line, markup=False)
    elif to and out:
        card = write(run, to, out, which=which, overwrite=overwrite)
        console.print(f"{out}: {to}; its model card is {card}", markup=False)
    else:
        raise FedSwinError("Say what to write with --to and --out, or what to check with --verify.")
