"""Datalists compared with each other, before there is a single file: which cases are on two of them.

The lists are in the Decathlon's form, as those that the paper's code publishes are. There is no voxel to compare, so a
case goes by its name, and where the list says it by the DICOM series that it was made of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from fedswin.data.check.finding import Finding, few
from fedswin.data.datalist import SPLITS, read_entries
from fedswin.data.volume import volume_stem
from fedswin.errors import FedSwinError
from fedswin.output import short_names

_SERIES_KEYS = ("series_uid", "SeriesInstanceUID", "series_instance_uid")
_UID = re.compile(r"(?<![\d.])[0-2](?:\.\d+){6,}")


@dataclass(frozen=True)
class Listed:
    """The cases of a datalist: the name of each, in its order, and ``{series UID: name}`` of those that have one."""

    names: tuple[str, ...]
    series: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """The datalists by file name, and what two of them share."""

    lists: dict[str, Listed]
    findings: list[Finding]


def compare_lists(paths: Sequence[Path]) -> Comparison:
    """Compare each datalist with each other one; the files that they name need not be there.

    One series on two lists is an error. One name is a warning: different collections number their cases alike.

    Args:
        paths: two datalist files or more.

    Raises:
        FedSwinError: if there are fewer, one is given twice, or one is no datalist.
    """
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        raise FedSwinError("--lists compares datalists with each other: give two different files or more.")
    lists = {name: read_list(path) for name, path in zip(short_names(paths), paths, strict=True)}
    findings = [finding for pair in combinations(lists.items(), 2) for finding in _shared(*pair[0], *pair[1])]
    return Comparison(lists, findings)


def read_list(path: Path) -> Listed:
    """Read the names and series of a datalist's cases.

    A name is the image's without folder and suffix; with the folder where names repeat, as in ``case_1/ct.nii.gz``. The
    series is the entry's ``series_uid`` or ``SeriesInstanceUID``, or else the last UID in the image's path.

    Raises:
        VolumeError: if it is no datalist.
    """
    splits, _ = read_entries(path)
    entries = [entry for split in SPLITS for entry in splits[split]]
    names = _names([Path(entry["image"]) for entry in entries])
    found = ((_series(entry), name) for entry, name in zip(entries, names, strict=True))
    return Listed(names, {series: name for series, name in found if series})


def _names(images: Sequence[Path]) -> tuple[str, ...]:
    names = tuple(volume_stem(image) for image in images)
    if len(set(names)) == len(names):
        return names
    return tuple(f"{image.parent.name}/{name}" for image, name in zip(images, names, strict=True))


def _series(entry: Mapping[str, Any]) -> str | None:
    said = next((entry[key] for key in _SERIES_KEYS if entry.get(key)), None)
    in_path = _UID.findall(entry["image"])
    return str(said) if said else next(reversed(in_path), None)


def _shared(first: str, a: Listed, second: str, b: Listed) -> list[Finding]:
    series = [uid for uid in a.series if uid in b.series]
    known = {a.series[uid] for uid in series} | {b.series[uid] for uid in series}
    names = sorted(set(a.names) & set(b.names) - known)
    sizes = f"of {len(a.names)} cases of {first} and {len(b.names)} of {second}"
    findings = []
    if series:
        problem = f"{len(series)} series are on both ({sizes}): {few(series)}"
        fix = "Take them off one list: a scan at two sites counts twice, and is a leak where one of them tests on it."
        findings.append(Finding("error", f"{first}, {second}", problem, fix))
    if names:
        problem = f"{len(names)} names are on both ({sizes}): {few(names)}"
        fix = (
            "Find out if these are the same scans or are only numbered alike: 'fedswin data check' on the site folders "
            "compares voxels. Keep the collections in separate folders, so that neither overwrites the other."
        )
        findings.append(Finding("warning", f"{first}, {second}", problem, fix))
    return findings
