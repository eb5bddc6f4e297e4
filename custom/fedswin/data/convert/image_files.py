"""Find volumes in files that hold one each: NIfTI, NRRD and MetaImage; and the label maps that belong to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fedswin.data.convert.source import ConversionRefusedError, LeftOut, Source
from fedswin.data.convert.text_header import find_data

_FORMS = {
    **dict.fromkeys((".nii", ".nii.gz"), "NIfTI"),
    **dict.fromkeys((".nrrd", ".nhdr"), "NRRD"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
}
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_LABEL_FIX = "Name it label.* beside its image ct.*, or as its image in labelsTr beside imagesTr."


def form_of(path: Path) -> str:
    """Return which form of volume a file is by its name: ``NIfTI``, ``NRRD`` or ``MetaImage``, else an empty string."""
    return _FORMS.get(_suffix(path), "")


def find_files(files: Sequence[Path]) -> tuple[list[Source], list[LeftOut]]:
    """Sort files into volumes and what is left out.

    A label map belongs to an image if it is ``label.*`` beside a ``ct.*``, or has the image's name in the folder
    ``labels*`` beside its ``images*``, as in the Medical Segmentation Decathlon (``imagesTr`` and ``labelsTr``).

    The patient is the folder, since the files of one patient often share one; but in a folder ``images*``, with which
    label maps can be paired, every file is a patient of its own, as in the Decathlon.

    Args:
        files: files that are not DICOM.

    Returns:
        The volumes, in the order of ``files``; and what is left out.
    """
    volumes: dict[Path, tuple[Path, ...]] = {}
    left_out: list[LeftOut] = []
    for path in filter(form_of, files):
        try:
            volumes[path] = _parts(path)
        except ConversionRefusedError as refusal:
            left_out.append(LeftOut((path,), refusal.reason, refusal.fix))
    labels = _label_maps(volumes)
    folders = {path.parent for path in volumes}
    maps = {*labels.values(), *(path for path in volumes if _is_label(path, folders))}
    lone = [path for path in volumes if path in maps - set(labels.values())]
    left_out += [LeftOut(volumes[path], "a label map without its image", _LABEL_FIX) for path in lone]
    claimed = {part for parts in volumes.values() for part in parts}
    left_out += _foreign([path for path in files if path not in claimed and not form_of(path)])
    return [_source(path, parts, labels) for path, parts in volumes.items() if path not in maps], left_out


def _parts(path: Path) -> tuple[Path, ...]:
    if form_of(path) == "NIfTI":
        return (path,)
    data = find_data(path).path
    return (path,) if data == path else (path, data)


def _source(path: Path, parts: tuple[Path, ...], labels: Mapping[Path, Path]) -> Source:
    patient = path if _is_listed(path.parent) else path.parent
    return Source(parts, form_of(path), str(patient), labels.get(path))


def _label_maps(volumes: Collection[Path]) -> dict[Path, Path]:
    """Return the label map of each image that has one."""
    by_name = {(path.parent, _stem(path)): path for path in volumes}
    found = {path: by_name.get(_label_name(path)) for path in volumes}
    return {path: label for path, label in found.items() if label}


def _label_name(image: Path) -> tuple[Path, str]:
    """Return the folder and the stem that the label map of an image has, if there is one."""
    folder, stem = image.parent, _stem(image)
    if _is_listed(folder):
        return folder.parent / folder.name.replace("images", "labels"), stem
    return folder, "label" if stem == "ct" else ""


def _is_listed(folder: Path) -> bool:
    return folder.name in ("images", "imagesTr", "imagesTs")


def _is_label(path: Path, folders: Collection[Path]) -> bool:
    images = path.parent.parent / path.parent.name.replace("labels", "images")
    return _stem(path) == "label" or (images != path.parent and _is_listed(images) and images in folders)


def _foreign(files: Sequence[Path]) -> list[LeftOut]:
    archives = [path for path in files if path.name.lower().endswith(_ARCHIVES)]
    others = [path for path in files if path not in set(archives)]
    packed = [LeftOut((path,), "an archive", "Unpack it.") for path in archives]
    return packed + ([LeftOut(tuple(others), "no image of a known form")] if others else [])


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in _FORMS if name.endswith(suffix)), "")


def _stem(path: Path) -> str:
    return path.name.lower().removesuffix(_suffix(path))
