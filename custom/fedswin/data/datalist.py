"""A site folder: ``datalist.json`` in the Medical Segmentation Decathlon form, and the images beside it.

    {
      "annotated": ["liver", "spleen"],
      "label_map": {"1": "liver", "2": "spleen", "3": "background"},
      "training": [{"image": "images/a.nii.gz", "label": "labels/a.nii.gz", "patient": "p1"}],
      "validation": [],
      "test": []
    }

``annotated`` and ``label_map`` are what the site knows of its own label maps, and optional; names are a job's names of
its classes, and one that the job does not have is refused when the job is known.

- ``annotated`` lists the classes that the site has annotated in every labelled case; without it, all classes of a job
  are. Background says nothing about a class that is not listed, in training as in scoring. A voxel of such a class is
  an error.
- ``label_map`` says what label values stand for, in the form of the Decathlon's ``labels``: each for the name of a
  class, or for ``"background"`` or 0. A value that is not in it means what it means in the job; one that neither knows
  is an error. Instead of the object there may be the name of one of `fedswin.data.label_maps.LABEL_MAPS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedswin.data.annotation import Annotation, read_annotation
from fedswin.errors import FedSwinError

DATALIST = "datalist.json"
SPLITS = ("training", "validation", "test")
SHARDS = "shards.json"
"""Beside the site folders that ``fedswin data shard`` made: how they were made, and what each holds."""


@dataclass(frozen=True)
class Case:
    """One CT volume of a site.

    Attributes:
        image: absolute path of the image.
        label: absolute path of the label map, or ``None`` for a case without one.
        patient: the patient's pseudonym; cases of one patient never cross splits.
        annotation: how the label map is to be read, the same for all cases of a datalist.
    """

    image: Path
    label: Path | None = None
    patient: str = ""
    annotation: Annotation = field(default_factory=Annotation)


@dataclass(frozen=True)
class Site:
    """A hospital's share of the data: its name and the cases of each split."""

    name: str
    folder: Path
    splits: Mapping[str, Sequence[Case]] = field(default_factory=dict)

    def cases(self, split: str, *, labelled: bool = False) -> list[Case]:
        """Return the cases of ``split``, or only those with a label."""
        return [case for case in self.splits.get(split, ()) if case.label or not labelled]


def site_folders(sites_dir: Path) -> dict[str, Path]:
    """Return ``{site name: folder}`` for every folder of ``sites_dir`` that holds a datalist.

    Raises:
        FedSwinError: if there is no such folder.
    """
    found = {path.parent.name: path.parent for path in sorted(sites_dir.glob(f"*/{DATALIST}"))}
    if not found:
        raise FedSwinError(
            f"{sites_dir}: no site folder found. A site folder is a folder with a {DATALIST}; "
            "make some with 'fedswin data phantom' or 'fedswin data shard'."
        )
    return found


def are_site_folders(sites_dir: Path) -> bool:
    """Tell whether ``sites_dir`` holds site folders, perhaps with their ``SHARDS``, and nothing else."""
    return sites_dir.is_dir() and all(
        entry.name == SHARDS or (entry / DATALIST).is_file() for entry in sites_dir.iterdir()
    )


def read_site(folder: Path) -> Site:
    """Read the site folder ``folder``; the site's name is the folder's name.

    Raises:
        FedSwinError: as ``read_datalist``.
    """
    splits, _ = read_datalist(folder / DATALIST)
    return Site(folder.resolve().name, folder, splits)


def read_datalist(path: Path) -> tuple[dict[str, list[Case]], dict[str, Any]]:
    """Read a datalist file; return the cases of each split, and its other top-level keys.

    Raises:
        FedSwinError: if the datalist is missing or malformed, an image or label it names does not
            exist, or one case or patient is in two splits.
    """
    content = _read_object(path)
    annotation = read_annotation(path, content)
    splits = {split: _read_split(path, split, content.get(split, []), annotation) for split in SPLITS}
    _refuse_overlap(path, splits)
    return splits, {key: value for key, value in content.items() if key not in SPLITS}


def write_datalist(folder: Path, splits: Mapping[str, Sequence[Case]], **top_level: Any) -> None:
    """Write ``folder/datalist.json``; paths inside the folder are written relative to it.

    Args:
        folder: the site folder; it must exist.
        splits: the cases of each split.
        top_level: further top-level keys, such as ``description``, and the cases' ``annotated`` and ``label_map``.
    """
    content: dict[str, Any] = {**top_level}
    for split in SPLITS:
        content[split] = [_entry(folder, case) for case in splits.get(split, ())]
    (folder / DATALIST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _entry(folder: Path, case: Case) -> dict[str, str]:
    entry = {"image": _relative(folder, case.image)}
    if case.label:
        entry["label"] = _relative(folder, case.label)
    if case.patient:
        entry["patient"] = case.patient
    return entry


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except FileNotFoundError:
        raise FedSwinError(f"{path} does not exist. Write it with 'fedswin data shard'.") from None
    except OSError as error:
        raise FedSwinError(f"{path} cannot be read: {error.strerror}. It must be a readable JSON file.") from None
    except ValueError as error:
        raise FedSwinError(f"{path} is not valid JSON: {error}. Correct it, or write it again.") from None
    if not isinstance(content, dict):
        raise FedSwinError(f"{path}: expected an object with the keys {', '.join(SPLITS)}.")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of ``pairs``; JSON itself would let the last of two equal keys win."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' is there twice")
    return content


def _read_split(path: Path, split: str, entries: Any, annotation: Annotation) -> list[Case]:
    if not isinstance(entries, list):
        raise FedSwinError(f"{path}: '{split}' must be a list of cases.")
    return [_read_case(path, split, number, entry, annotation) for number, entry in enumerate(entries)]


def _read_case(path: Path, split: str, number: int, entry: Any, annotation: Annotation) -> Case:
    where = f"{path}: {split}[{number}]"
    if isinstance(entry, str):  # the Decathlon's own test list is a list of file names
        entry = {"image": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise FedSwinError(f'{where} has no \'image\'. Each case is {{"image": path, "label": path (optional)}}.')
    image = _existing(where, path.parent / entry["image"])
    if not isinstance(entry.get("label", ""), str | None):
        raise FedSwinError(f"{where}: 'label' is {entry['label']!r}, not one path. Merge the label maps into one file.")
    label = _existing(where, path.parent / entry["label"]) if entry.get("label") else None
    return Case(image, label, str(entry.get("patient") or entry["image"]), annotation)


def _existing(where: str, path: Path) -> Path:
    if not path.is_file():
        raise FedSwinError(f"{where}: {path} does not exist. Put the file there or take the case off the list.")
    return path.absolute()


def _refuse_overlap(path: Path, splits: Mapping[str, Sequence[Case]]) -> None:
    seen: dict[str, str] = {}
    for split, cases in splits.items():
        for key in {key for case in cases for key in (str(case.image.resolve()), f"patient {case.patient}")}:
            if seen.setdefault(key, split) != split:
                raise FedSwinError(f"{path}: {key} is in both '{seen[key]}' and '{split}'. Keep it in one of them.")
