"""Read a collection of CT: a folder of ``<source>/<case>/ct.nii.gz``, some with a ``label.nii.gz``, or a datalist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fedswin.data.datalist import SPLITS, Case, read_datalist
from fedswin.data.volume import SUFFIXES, volume_stem
from fedswin.errors import FedSwinError

_CARRIED_KEYS = ("annotated", "label_map", "labels")


@dataclass(frozen=True)
class Scan:
    """One case of a collection: where it came from, its name there, and its files."""

    source: str
    name: str
    case: Case

    @property
    def key(self) -> str:
        """The scan's name within the collection, ``<source>/<case>``."""
        return f"{self.source}/{self.name}"


@dataclass
class Collection:
    """The scans found, what the user should know of the search, and a datalist's keys for the sites' own."""

    scans: list[Scan]
    messages: list[str] = field(default_factory=list)
    top_level: dict[str, Any] = field(default_factory=dict)


def read_collection(collection: Path, only: str | None) -> Collection:
    """Find the scans of ``collection``.

    Args:
        collection: a folder of ``<source>/<case>``, or a datalist file.
        only: a glob on ``<source>/<case>``; other cases are left out.

    Raises:
        FedSwinError: if there is none, or one file is there under two names.
    """
    if not collection.exists():
        raise FedSwinError(f"{collection} does not exist. Give a folder of <source>/<case>, or a datalist.")
    found = _read_folder(collection, only) if collection.is_dir() else _read_list(collection, only)
    if not found.scans:
        asked = f" that matches --only '{only}', a glob on <source>/<case>" if only else ""
        raise FedSwinError(
            f"{collection}: no case found{asked}. A collection is a folder of <source>/<case>/ct.nii.gz, "
            "or a datalist file."
        )
    _refuse_twins(found.scans)
    return found


def _read_folder(collection: Path, only: str | None) -> Collection:
    found = Collection([])
    for source in _folders(collection):
        cases = [case for case in _folders(source) if _wanted(f"{source.name}/{case.name}", only)]
        scans = {case: _scan(case) for case in cases}
        found.scans += [scan for scan in scans.values() if scan]
        left_out = [f"{source.name}/{case.name}" for case, scan in scans.items() if not scan]
        if len(left_out) == len(cases):
            left_out = [source.name] if cases or not only else []
        found.messages += [f"{name}: no NIfTI found, left out" for name in left_out]
    return found


def _read_list(path: Path, only: str | None) -> Collection:
    splits, top_level = read_datalist(path)
    cases = [case for split in SPLITS for case in splits[split]]
    names = [volume_stem(case.image) for case in cases]
    if len(set(names)) < len(names):  # such as case_00000/imaging.nii.gz, case_00001/imaging.nii.gz
        names = [f"{case.image.parent.name}_{name}" for case, name in zip(cases, names, strict=True)]
    source = path.absolute().parent.name
    scans = [Scan(source, name, case) for name, case in zip(names, cases, strict=True)]
    pooled = [f"{path.name}: its own splits are pooled and drawn anew"] if cases != splits["training"] else []
    carried = {key: top_level[key] for key in _CARRIED_KEYS if key in top_level}
    return Collection([scan for scan in scans if _wanted(scan.key, only)], pooled, carried)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _wanted(key: str, only: str | None) -> bool:
    return only is None or fnmatchcase(key, only)


def _scan(folder: Path) -> Scan | None:
    source, name = folder.parent.name, folder.name
    image, label = (
        next((path for path in (folder / f"{stem}{suffix}" for suffix in SUFFIXES) if path.is_file()), None)
        for stem in ("ct", "label")
    )
    return Scan(source, name, Case(image, label, f"{source}/{name}")) if image else None


def _refuse_twins(scans: Sequence[Scan]) -> None:
    seen: dict[Path, str] = {}
    for scan in scans:
        other = seen.setdefault(scan.case.image.resolve(), scan.key)
        if other != scan.key:
            raise FedSwinError(f"{other} and {scan.key} are the same file. Take one of them out.")
