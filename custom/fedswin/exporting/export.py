"""``fedswin export``: a trained model in the form that another tool loads, with a model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedswin.errors import FedSwinError, nearest
from fedswin.exporting.bundle import how_to_use, is_bundle, write_bundle
from fedswin.exporting.card import model_card, with_checksums
from fedswin.exporting.encoder import save_encoder, save_swinvit
from fedswin.exporting.onnx_file import save_onnx
from fedswin.exporting.torchscript import save_torchscript
from fedswin.exporting.usage import usage
from fedswin.output import refuse_output, staged, staged_files
from fedswin.weights.file import Weights, load_weights, resolve_weights

_CARD_IN_FOLDER = "README.md"


@dataclass(frozen=True)
class Form:
    """A form that a model can have.

    Attributes:
        write: writes a model: to the path of a file, or into a folder that is there and empty.
        how_to_use: returns the sections of the card that say how to load the model and train it further, given the
            model and the name of the file or folder.
        segments: whether it is of a whole segmentation network, so that a pre-training run has none.
        folder: whether it is a folder, with the card in it.
        suffix: what the name of the file must end with, if ``--verify`` knows the form by that alone.
    """

    write: Callable[[Weights, Path], None]
    how_to_use: Callable[[Weights, str], str]
    segments: bool = False
    folder: bool = False
    suffix: str = ""


FORMS: Mapping[str, Form] = {
    "encoder": Form(save_encoder, usage("encoder")),
    "swinvit": Form(save_swinvit, usage("swinvit")),
    "bundle": Form(write_bundle, lambda weights, _: how_to_use(weights), segments=True, folder=True),
    "torchscript": Form(save_torchscript, usage("torchscript"), segments=True),
    "onnx": Form(save_onnx, usage("onnx"), segments=True, suffix=".onnx"),
}


def export(run: Path, to: str, out: Path, *, which: str = "best", overwrite: bool = False) -> Path:
    """Write the model of a run (or of a weights file) in another form, whole or not at all, with its model card.

    Args:
        run: a run folder or a weights file.
        to: a name in `FORMS`.
        out: the file or folder to write.
        which: ``best`` or ``last``, for a run folder.
        overwrite: replace ``out`` and its card if they exist.

    Returns:
        The model card: ``README.md`` in a folder, and beside a single file its name with ``.md`` behind.

    Raises:
        FedSwinError: if the run has no such model, the model cannot have this form, ``out`` or its card exists or
            cannot be written, or a library is missing.
    """
    if to not in FORMS:
        raise FedSwinError(f"--to {to}: unknown form{nearest(to, FORMS)}; choose one of {', '.join(FORMS)}.")
    form = FORMS[to]
    card_path = _refuse(out, form, overwrite=overwrite)
    weights = load_weights(resolve_weights(run, which))
    if form.segments:
        _require_segmentation(weights, to)
    card = model_card(weights, to, run if run.is_dir() else None, form.how_to_use(weights, out.name))
    if form.folder:
        _write_folder(form, weights, out, card)
    else:
        _write_file(form, weights, out, card)
    return card_path


def card_beside(file: Path) -> Path:
    """Return where the model card of a single file is."""
    return file.with_name(f"{file.name}.md")


def _refuse(out: Path, form: Form, *, overwrite: bool) -> Path:
    """Make sure that a model may be written to ``out``, and return where its card goes."""
    if form.suffix and out.suffix != form.suffix:
        raise FedSwinError(f"--out {out}: the name must end with {form.suffix}, or --verify would not know what it is.")
    if form.folder:
        refuse_output(out, overwrite=overwrite, kind="a bundle of FedSwin", is_kind=is_bundle)
        return out / _CARD_IN_FOLDER
    card = card_beside(out)
    for path in (out, card):
        refuse_output(path, overwrite=overwrite, kind="a file", is_kind=Path.is_file)
    return card


def _require_segmentation(weights: Weights, to: str) -> None:
    if weights.job.task != "finetune":
        raise FedSwinError(
            f"The model of the '{weights.job.task}' job '{weights.job.name}' segments nothing, so it cannot be "
            f"exported as {to}. Choose --to encoder or --to swinvit, or give a run of a 'finetune' job."
        )
    if weights.job.segmentation.decoder != "unetr":
        raise FedSwinError(
            f"The decoder of the job '{weights.job.name}' is '{weights.job.segmentation.decoder}', a probe of the "
            f"encoder, and no network of MONAI's, so it cannot be exported as {to}. Choose --to encoder or "
            "--to swinvit, or give a run with the decoder 'unetr'."
        )


def _write_folder(form: Form, weights: Weights, out: Path, card: str) -> None:
    with staged(out) as folder:
        form.write(weights, folder)
        files = [*folder.glob("models/*"), *folder.glob("configs/*.json")]
        (folder / _CARD_IN_FOLDER).write_text(with_checksums(card, folder, files), encoding="utf-8")


def _write_file(form: Form, weights: Weights, out: Path, card: str) -> None:
    with staged_files(out) as folder:
        model = folder / out.name
        form.write(weights, model)
        card_beside(model).write_text(with_checksums(card, folder, [model]), encoding="utf-8")
