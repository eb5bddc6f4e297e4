"""A site folder: ``datalist.json`` in the Medical Segmentation Decathlon form, and the images beside it.

    {
      "annotated": ["liver", "spleen"],
      "label_map": {"1": "liver", "2": "spleen", "3": "background"},
      "regions": ["abdomen"],
      "training": [
        {"image": "images/a.nii.gz", "label": "labels/a.nii.gz", "patient": "p1"},
        {"image": "images/b.nii.gz", "label": "labels/b.nii.gz", "patient": "p2", "annotated": ["liver"]}
      ],
      "validation": [],
      "test": []
    }

``regions`` says which parts of the body the scans show, in the words of `REGIONS`; it is optional, and told to the
server for the model card. ``annotated`` and ``label_map`` are what the site knows of its own label maps, and optional;
names are a job's names of its classes, and one that the job does not have is refused when the job is known.

- ``annotated`` lists the classes that the site has annotated in every labelled case; without it, all classes of a job
  are. A case that has an ``annotated`` of its own goes by that one. Background says nothing about a class that is not
  listed, in training as in scoring. A voxel of such a class is an error. A list holds names, or else the label values
  that were drawn, as they are in the label maps; then a job may name some of the classes only. A case that annotates
  nothing counts as one without a label, and one that annotates no class of a job does for that job.
- ``label_map`` says what label values stand for, in the form of the Decathlon's ``labels``: each for the name of a
  class, or for ``"background"`` or 0. A value that is not in it means what it means in the job; one that neither knows
  is an error. Instead of the object there may be the name of one of `fedswin.data.label_maps.LABEL_MAPS`.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedswin.config import SegmentationSettings
from fedswin.data.annotation import Annotation, own_annotation, read_annotation
from fedswin.data.volume import VolumeError
from fedswin.errors import FedSwinError

DATALIST = "datalist.json"
SPLITS = ("training", "validation", "test")
REGIONS = ("head", "neck", "chest", "abdomen", "pelvis", "spine", "arm", "leg")
SHARDS = "shards.json"
"""Beside the site folders that ``fedswin data shard`` made: how they were made, and what each holds."""


@dataclass(frozen=True)
class Case:
    """One CT volume of a site.

    Attributes:
        image: absolute path of the image.
        label: absolute path of the label map, or ``None`` for a case without one.
        patient: the patient's pseudonym; cases of one patient never cross splits.
        annotation: how the label map is to be read.
        site: whose case it is, where those of several sites are pooled.
    """

    image: Path
    label: Path | None = None
    patient: str = ""
    annotation: Annotation = field(default_factory=Annotation)
    site: str = ""

    @property
    def is_labelled(self) -> bool:
        """Whether it has a label map in which something was annotated."""
        return self.label is not None and self.annotation.annotated != ()


@dataclass(frozen=True)
class Site:
    """A hospital's share of the data: its name, the cases of each split, and which of `REGIONS` they show."""

    name: str
    folder: Path
    splits: Mapping[str, Sequence[Case]] = field(default_factory=dict)
    regions: tuple[str, ...] = ()

    def cases(self, split: str, *, labelled: bool = False) -> list[Case]:
        """Return the cases of ``split``, or only those with a label."""
        return [case for case in self.splits.get(split, ()) if case.is_labelled or not labelled]

    def annotated_cases(self, split: str, settings: SegmentationSettings) -> list[Case]:
        """Return the labelled cases of ``split`` in which a class of the job was annotated: what it can learn from."""
        return [case for case in self.cases(split, labelled=True) if case.annotation.annotated_classes(settings)]


def is_site_folder(folder: Path) -> bool:
    """Tell whether ``folder`` holds a datalist."""
    return (folder / DATALIST).is_file()


def site_name(folder: Path) -> str:
    """Return the name of the site whose folder this is: the folder's own, which for a link is the link's."""
    return Path(os.path.abspath(folder)).name


def site_folders(data: Path) -> dict[str, Path]:
    """Return ``{site name: folder}`` of every site folder in ``data``, or of the one that it is.

    Raises:
        FedSwinError: if there is none.
    """
    if is_site_folder(data):
        return {site_name(data): Path(os.path.abspath(data))}
    found = {path.parent.name: path.parent for path in sorted(data.glob(f"*/{DATALIST}"))}
    if not found:
        raise FedSwinError(
            f"{data}: no site folder found. A site folder is a folder with a {DATALIST}; "
            "make some with 'fedswin data phantom' or 'fedswin data shard'."
        )
    return found


def are_site_folders(sites_dir: Path) -> bool:
    """Tell whether ``sites_dir`` holds site folders, perhaps with their ``SHARDS``, and nothing else."""
    return sites_dir.is_dir() and all(entry.name == SHARDS or is_site_folder(entry) for entry in sites_dir.iterdir())


def read_site(folder: Path) -> Site:
    """Read the site folder ``folder``; the site's name is the folder's name.

    Raises:
        VolumeError: as ``read_datalist``.
    """
    splits, top_level = read_datalist(folder / DATALIST)
    regions = top_level.get("regions", ())
    return Site(site_name(folder), folder, splits, tuple(name for name in REGIONS if name in regions))


def read_datalist(path: Path) -> tuple[dict[str, list[Case]], dict[str, Any]]:
    """Read a datalist file; return the cases of each split, and its other top-level keys.

    Raises:
        VolumeError: if the datalist is missing or malformed, an image or label it names does not
            exist, or one case or patient is in two splits.
    """
    splits, top_level = parse_datalist(path)
    _refuse_missing(path, splits)
    for key, among in overlaps(splits).items():
        problem = f"{key} is in both '{among[0]}' and '{among[1]}'"
        raise VolumeError(path, problem, "Keep it in one of them.")
    return splits, top_level


def parse_datalist(path: Path) -> tuple[dict[str, list[Case]], dict[str, Any]]:
    """Return what ``read_datalist`` does, without a look at the files that it names and at what is in two splits.

    Raises:
        VolumeError: if the datalist is missing or malformed.
    """
    entries, top_level = read_entries(path)
    annotation = read_annotation(path, top_level)
    _refuse_unknown_regions(path, top_level.get("regions", []))
    splits = {split: [_case(path, split, *item, annotation) for item in enumerate(entries[split])] for split in SPLITS}
    return splits, top_level


def read_entries(path: Path) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Return the entries of each split as they are, each with an ``image``, and the other top-level keys.

    Raises:
        VolumeError: if the datalist is missing, is no JSON object, or an entry has no image.
    """
    content = _read_object(path)
    splits = {split: _entries(path, split, content.get(split, [])) for split in SPLITS}
    return splits, {key: value for key, value in content.items() if key not in SPLITS}


def overlaps(splits: Mapping[str, Sequence[Case]]) -> dict[str, list[str]]:
    """Return ``{file or patient: the splits that it is in}`` for all that are in more than one."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for split, cases in splits.items():
        for key in dict.fromkeys(
            key for case in cases for key in (f"patient {case.patient}", os.path.realpath(case.image))
        ):
            found[key].append(split)
    return {key: among for key, among in found.items() if len(among) > 1}


def write_datalist(folder: Path, splits: Mapping[str, Sequence[Case]], **top_level: Any) -> None:
    """Write ``folder/datalist.json``; paths inside the folder are written relative to it.

    Args:
        folder: the site folder; it must exist.
        splits: the cases of each split.
        top_level: further top-level keys, such as ``description``, and the cases' ``annotated`` and ``label_map``; what
            was annotated in a case is written beside it where it differs from the former.
    """
    content: dict[str, Any] = {**top_level}
    for split in SPLITS:
        content[split] = [_entry(folder, case, top_level.get("annotated")) for case in splits.get(split, ())]
    (folder / DATALIST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _entry(folder: Path, case: Case, annotated: Sequence[str | int] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"image": _relative(folder, case.image)}
    if case.label:
        entry["label"] = _relative(folder, case.label)
    if case.patient:
        entry["patient"] = case.patient
    own = case.annotation.annotated
    if own is not None and (annotated is None or list(own) != list(annotated)):
        entry["annotated"] = list(own)
    return entry


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except FileNotFoundError:
        raise VolumeError(path, "there is no such file", "Write it with 'fedswin data shard'.") from None
    except OSError as error:
        fix = "It must be a readable JSON file."
        raise VolumeError(path, f"cannot be read: {error.strerror}", fix) from None
    except (ValueError, RecursionError) as error:
        raise VolumeError(path, f"is not valid JSON: {error}", "Correct it, or write it again.") from None
    if not isinstance(content, dict):
        raise VolumeError(path, "is no object", f"It must be one with the keys {', '.join(SPLITS)}.")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of ``pairs``; JSON itself would let the last of two equal keys win."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' is there twice")
    return content


def _entries(path: Path, split: str, entries: Any) -> list[dict[str, Any]]:
    if not isinstance(entries, list):
        raise VolumeError(path, f"'{split}' is no list", "It must be a list of cases.")
    return [_entry_of(path, f"{split}[{number}]", entry) for number, entry in enumerate(entries)]


def _entry_of(path: Path, where: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):  # the Decathlon's own test list is a list of file names
        entry = {"image": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        fix = 'Each case is {"image": path, "label": path (optional)}.'
        raise VolumeError(path, f"{where} has no 'image'", fix)
    if "\0" in entry["image"]:
        raise VolumeError(path, f"{where}: its image's name holds a null character", "Correct the path.")
    return entry


def _case(path: Path, split: str, number: int, entry: Mapping[str, Any], annotation: Annotation) -> Case:
    label = entry.get("label") or None
    if not isinstance(label, str | None):
        problem = f"{split}[{number}]: 'label' is {label!r}, not one path"
        raise VolumeError(path, problem, "Merge the label maps into one file.")
    folder = path.parent.absolute()
    patient = str(entry.get("patient") or entry["image"])
    own = own_annotation(path, f"{split}[{number}]", entry, annotation)
    return Case(folder / entry["image"], folder / label if label else None, patient, own)


def _refuse_unknown_regions(path: Path, regions: Any) -> None:
    unknown = [name for name in regions if name not in REGIONS] if isinstance(regions, list) else [regions]
    if unknown:
        problem = f"'regions' holds {json.dumps(unknown[0])}, which is no region"
        raise VolumeError(path, problem, f"It is a list of some of {', '.join(REGIONS)}.")


def _refuse_missing(path: Path, splits: Mapping[str, Sequence[Case]]) -> None:
    for split, cases in splits.items():
        for number, case in enumerate(cases):
            for file in filter(None, (case.image, case.label)):
                if not os.path.isfile(file):  # Path.is_file raises for a name that is too long
                    fix = "Put the file there or take the case off the list."
                    raise VolumeError(path, f"{split}[{number}]: {file} does not exist", fix)
