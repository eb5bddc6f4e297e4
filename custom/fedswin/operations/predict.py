"""Label maps for images: each as a NIfTI file on its image's own grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from fedswin.config import DataSettings
from fedswin.data.label_map import write_label_map
from fedswin.data.volume import hu_problem, read_volume, read_voxels
from fedswin.errors import FedSwinError
from fedswin.output import refuse_output, short_names, staged
from fedswin.segmentation.ensemble import Ensemble, load_ensemble
from fedswin.segmentation.inference import predict
from fedswin.training.trainer import make_deterministic

_TABLE = "labels.json"


def predict_images(
    images: Sequence[Path], models: Sequence[Path], out: Path, *, overwrite: bool = False, console: Console
) -> dict[str, int]:
    """Segment images and write a label map for each, and ``labels.json`` beside them.

    A label map has its image's name; images of several folders keep what of their paths lies below the folder that
    all share.

    ``labels.json`` names the label value of each class, the images, and the models by their SHA-256. The folder
    appears when all is done.

    Args:
        images: NIfTI files.
        models: weights files, run folders or folders of folds; several predict as an ensemble,
            by the mean of their class probabilities.
        out: the folder to write.
        overwrite: replace ``out``, if it holds predictions.
        console: where progress and warnings appear.

    Returns:
        The label value of each class.

    Raises:
        FedSwinError: if an image or a model cannot be used, the models do not fit together, an image is given
            twice, or ``out`` is refused. Nothing is written then.
    """
    refuse_output(out, overwrite=overwrite, kind="predictions", is_kind=lambda path: (path / _TABLE).is_file())
    files = _file_names(images)
    ensemble = load_ensemble(models)
    make_deterministic(ensemble.job)
    _check_images(images, ensemble.job.data, console)
    classes = ensemble.job.segmentation.written_values
    with staged(out) as folder, Progress(console=console, transient=True) as bar:
        for name, image in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _predict_image(image, ensemble, folder / name, bar, escape(name))
        table = {
            "labels": {"background": 0, **classes},
            "images": list(files),
            "models": list(ensemble.digests),
        }
        (folder / _TABLE).write_text(json.dumps(table, indent=2) + "\n")
    return classes


def _file_names(images: Sequence[Path]) -> dict[str, Path]:
    """Return ``{file of the label map: image}``, named by the images' paths below the folder that all share."""
    names = short_names(images)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise FedSwinError(f"{images[names.index(twice)]} is given twice. Give each image once.")
    return dict(zip(names, images, strict=True))


def _check_images(images: Sequence[Path], data: DataSettings, console: Console) -> None:
    """Read every image to its last byte before the first is segmented, which may take hours."""
    for image in images:
        with console.status(f"checking {escape(image.name)}"):
            voxels = read_voxels(image, len(data.channels))
            problem = hu_problem(voxels) if data.is_ct else None
        if problem:
            console.print(f"Warning: {image}: {problem}. The models expect HU.", markup=False)


def _predict_image(image: Path, ensemble: Ensemble, out: Path, bar: Progress, description: str) -> None:
    task = bar.add_task(description, total=None)
    indices = predict(ensemble, image, lambda done, total: bar.update(task, completed=done, total=total))
    job = ensemble.job
    write_label_map(out, indices, job.segmentation.written_values, read_volume(image, len(job.data.channels)))
