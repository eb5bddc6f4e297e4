"""What was drawn in each case of a collection, where that differs by case: found out when the collection is dealt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from fedswin.data.dealing.collection import Scan
from fedswin.errors import FedSwinError

Drawn = Literal["label-maps", "manifest"]
"""Who says it: the label maps, by the values that occur, or the collection's `MANIFEST`."""

MANIFEST = "manifest.json"
"""A list of cases, ``{"folder": source, "id": case, "labels": {label value: name}}``; other keys are ignored."""


_DIGITS = 9  # of a label value


def with_drawn(scans: Sequence[Scan], values: Mapping[Path, Iterable[int]]) -> list[Scan]:
    """Return the scans with the label values that were drawn in each as what was annotated.

    Values and not names: a job may then name some of the structures only, and call them as it likes.

    Args:
        scans: the scans; those without a label map stay as they are.
        values: the values of each label map; 0, which is background, does not count.
    """
    return [_with_annotated(scan, values[scan.case.label]) if scan.case.label else scan for scan in scans]


def manifest_of(collection: Path) -> Path:
    """Return where the manifest of a collection is: in its folder, or beside its datalist."""
    return (collection if collection.is_dir() else collection.parent) / MANIFEST


def read_drawn(collection: Path, scans: Sequence[Scan]) -> dict[Path, frozenset[int]]:
    """Return the label values that a collection's manifest lists for the label map of each scan.

    Raises:
        FedSwinError: if there is no manifest, it is malformed, or it lists none for a case that has a label map.
    """
    path = manifest_of(collection)
    listed = {_key_of(path, number, entry): entry.get("labels") for number, entry in enumerate(_entries(path))}
    return {scan.case.label: _values(path, scan.key, listed.get(scan.key)) for scan in scans if scan.case.label}


def _with_annotated(scan: Scan, values: Iterable[int]) -> Scan:
    drawn = tuple(sorted(set(values) - {0}))
    return replace(scan, case=replace(scan.case, annotation=replace(scan.case.annotation, annotated=drawn)))


def _entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fix = "Put it there, or let the label maps say what was drawn: --annotated label-maps."
        raise FedSwinError(f"{path}: there is no such file. {fix}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FedSwinError(
            f"{path} cannot be read as JSON: {error}. Correct it, or use --annotated label-maps."
        ) from None
    if not isinstance(content, list):
        raise FedSwinError(f"{path} is no list. A manifest is a list of cases, each with 'folder', 'id' and 'labels'.")
    return content


def _key_of(path: Path, number: int, entry: Any) -> str:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in ("folder", "id")):
        raise FedSwinError(
            f"{path}: entry {number} does not have the texts 'folder' and 'id', as a case has. Add them."
        )
    return f"{entry['folder']}/{entry['id']}"


def _values(path: Path, key: str, labels: Any) -> frozenset[int]:
    if not isinstance(labels, dict) or not all(map(_is_value, labels)):
        raise FedSwinError(
            f"{path}: {key} has a label map, and its 'labels' are {labels!r}. List them as "
            '{"label value": "name"}, or let the label maps say what was drawn: --annotated label-maps.'
        )
    return frozenset(map(int, labels))


def _is_value(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
