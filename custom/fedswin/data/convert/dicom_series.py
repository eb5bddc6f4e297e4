"""Sort DICOM files into series, each of which is one volume of CT."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np

from fedswin.data.convert.dicom_header import Slice, read_slice
from fedswin.data.convert.source import ConversionRefusedError, LeftOut, Source
from fedswin.data.convert.stack import FEWEST, Stack

_SAME_PLACE_MM = 1e-2


def find_series(
    files: Sequence[Path], progress: Callable[[int], None] = lambda done: None
) -> tuple[list[Source], list[LeftOut]]:
    """Group DICOM files into volumes, whatever their names and folders are.

    One series may hold several volumes: reconstructions of another size or orientation, and acquisitions that lie at
    the same places, such as the phases of a contrast study.

    Args:
        files: files that begin as DICOM does.
        progress: called with the number of headers read so far.

    Returns:
        The volumes, their slices in order; and what is left out, files of one series and one reason together.
    """
    slices: list[Slice] = []
    refused: defaultdict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for done, path in enumerate(files, start=1):
        try:
            slices.append(read_slice(path))
        except ConversionRefusedError as refusal:
            refused[path.parent, refusal.reason, refusal.fix].append(path)
        progress(done)
    left_out = [LeftOut(tuple(paths), reason, fix) for (_, reason, fix), paths in refused.items()]
    sources = []
    for group in _parallel(slices):
        distinct, again = _without_copies(group)
        left_out += [LeftOut(tuple(again), "a copy of another slice")] if again else []
        for part in _acquisitions(distinct):
            try:
                sources.append(_source(part))
            except ConversionRefusedError as refusal:
                left_out.append(LeftOut(tuple(item.path for item in part), refusal.reason, refusal.fix))
    return sources, left_out


def _parallel(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Group slices of one series, size, spacing and orientation."""
    groups: defaultdict[Hashable, list[list[Slice]]] = defaultdict(list)
    for item in slices:
        candidates = groups[item.series, item.patient, item.shape]
        found = next((group for group in candidates if _is_parallel(group[0], item)), None)
        (found.append(item) if found else candidates.append([item]))
    return [group for candidates in groups.values() for group in candidates]


def _is_parallel(one: Slice, other: Slice) -> bool:
    return np.allclose(one.axes, other.axes, atol=1e-2) and np.allclose(one.spacing, other.spacing, rtol=1e-3)


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], list[Path]]:
    """Drop slices that lie at the same place as another and have the same pixels."""
    kept: list[Slice] = []
    again: list[Path] = []
    for places in _by_place(slices):
        seen: set[bytes] = set()
        for item in places:
            digest = _pixel_digest(item) if len(places) > 1 else b""
            (again.append(item.path) if digest in seen else kept.append(item))
            seen.add(digest)
    return kept, again


def _by_place(slices: Sequence[Slice]) -> Iterator[list[Slice]]:
    """Yield the slices that lie at one place, place by place along the normal."""
    stack = Stack(slices)
    starts = np.flatnonzero(np.diff(stack.heights, prepend=-np.inf) > _SAME_PLACE_MM)
    for start, end in zip(starts, [*starts[1:], len(slices)], strict=True):
        yield stack.slices[start:end]


def _pixel_digest(item: Slice) -> bytes:
    with item.path.open("rb") as file:
        file.seek(item.pixels_at)
        return hashlib.sha256(file.read()).digest()


def _acquisitions(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Tell acquisitions at the same places apart. Elsewhere the number says little: old scanners count every slice."""
    parts: defaultdict[str, list[Slice]] = defaultdict(list)
    for item in slices:
        parts[item.acquisition].append(item)
    is_apart = all(len(places) == 1 for places in _by_place(slices))
    return [list(slices)] if is_apart or min(map(len, parts.values())) < FEWEST else list(parts.values())


def _source(slices: Sequence[Slice]) -> Source:
    if any(len(places) > 1 for places in _by_place(slices)):
        fix = "Export the acquisitions as series of their own."
        raise ConversionRefusedError("different slices at the same place", fix)
    stack = Stack(slices)
    stack.require_complete()
    return Source(tuple(item.path for item in stack.slices), "DICOM", slices[0].patient)
