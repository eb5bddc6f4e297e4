"""``fedswin export``: a trained model in the form that another tool loads, with a model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedswin.checksum import file_sha256
from fedswin.durable import written_whole
from fedswin.errors import FedSwinError, nearest
from fedswin.exporting.bundle import how_to_use, write_bundle
from fedswin.exporting.card import model_card
from fedswin.exporting.encoder import save_encoder, save_swinvit
from fedswin.exporting.onnx_file import save_onnx
from fedswin.exporting.torchscript import save_torchscript
from fedswin.exporting.usage import usage
from fedswin.output import refuse_output, staged
from fedswin.weights.file import Weights, load_weights, resolve_weights

_CARD_IN_FOLDER = "README.md"


@dataclass(frozen=True)
class Form:
    """A form that a model can have.

    Attributes:
        write: writes a model and its card: to the path of a file, or into a folder that is there and empty.
        how_to_use: returns the sections of the card that say how to load the model and train it further, given the
            model and the name of the file or folder.
        segments: whether it is of a whole segmentation network, so that a pre-training run has none.
        folder: whether it is a folder, with the card in it.
    """

    write: Callable[[Weights, Path, str], None]
    how_to_use: Callable[[Weights, str], str]
    segments: bool = False
    folder: bool = False


def _with_card(save: Callable[[Weights, Path], None]) -> Callable[[Weights, Path, str], None]:
    def write(weights: Weights, path: Path, card: str) -> None:
        save(weights, path)
        with written_whole(card_beside(path)) as file:
            file.write(f"{card}- the file `{path.name}`: `{file_sha256(path)}`\n".encode())

    return write


FORMS: Mapping[str, Form] = {
    "encoder": Form(_with_card(save_encoder), usage("encoder")),
    "swinvit": Form(_with_card(save_swinvit), usage("swinvit")),
    "bundle": Form(write_bundle, lambda weights, _: how_to_use(weights), segments=True, folder=True),
    "torchscript": Form(_with_card(save_torchscript), usage("torchscript"), segments=True),
    "onnx": Form(_with_card(save_onnx), usage("onnx"), segments=True),
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
        FedSwinError: if the run has no such model, the model cannot have this form, ``out`` or its card exists, or a
            library is missing.
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
        with staged(out) as folder:
            form.write(weights, folder, card)
    else:
        form.write(weights, out, card)
    return card_path


def card_beside(file: Path) -> Path:
    """Return where the model card of a single file is."""
    return file.with_name(f"{file.name}.md")


def _refuse(out: Path, form: Form, *, overwrite: bool) -> Path:
    """Make sure that a model may be written to ``out``, and return where its card goes."""
    if form.folder:
        card = out / _CARD_IN_FOLDER
        refuse_output(out, overwrite=overwrite, kind="an exported model", is_kind=lambda path: card.is_file())
        return card
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
