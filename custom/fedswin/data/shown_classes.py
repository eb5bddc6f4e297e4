"""Which classes label maps show, read before a job is known: what the datalist calls them, or their label values."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case
from fedswin.data.label_maps import BACKGROUND, LABEL_MAPS
from fedswin.data.volume import VolumeError, read_voxels, require_label_values
from fedswin.errors import FedSwinError

ShownClasses = Mapping[Path, frozenset[str]]
"""The classes that each label map shows, background left out."""


def name_values(cases: Sequence[Case], values: Mapping[Path, Collection[int]]) -> ShownClasses:
    """Return the classes that the label maps of ``cases`` show, given what `label_values` returns.

    A class has the name that the datalist's ``label_map`` gives to its label value, or is the value itself: ``"7"``.
    """
    return {case.label: named_classes(values[case.label], case.annotation) for case in cases if case.label}


def label_values(cases: Sequence[Case], progress: Callable[[str], None] = lambda _: None) -> dict[Path, frozenset[int]]:
    """Return the values that are in each label map of ``cases``, which are read one at a time.

    Args:
        cases: the cases; those without a label map are passed over.
        progress: called with a short text before each label map.

    Raises:
        FedSwinError: if label maps cannot be read or hold fractions; it names all of them, one a line.
    """
    maps = list(dict.fromkeys(case.label for case in cases if case.label))
    found, faults = {}, []
    for number, path in enumerate(maps, start=1):
        progress(f"reading label map {number} of {len(maps)}")
        try:
            values = np.unique(read_voxels(path))
            require_label_values(path, values, None)
            found[path] = frozenset(map(int, values))
        except VolumeError as error:
            faults.append(f"\n- {error}")
    if faults:
        raise FedSwinError(f"Label maps that cannot be read: {len(faults)} of {len(maps)}.{''.join(faults)}")
    return found


def named_classes(values: Iterable[int], annotation: Annotation) -> frozenset[str]:
    """Return what label values stand for as far as the datalist says it; background is left out."""
    own = annotation.label_map
    names: Mapping[int, str] = {0: BACKGROUND, **(LABEL_MAPS[own] if isinstance(own, str) else own)}
    return frozenset(names.get(int(value), str(int(value))) for value in values) - {BACKGROUND}


def annotated_names(case: Case) -> frozenset[str] | None:
    """Return what was annotated in a case, as `name_values` names it; ``None`` if its datalist does not say."""
    annotated = case.annotation.annotated
    if annotated is None:
        return None
    names = frozenset(entry for entry in annotated if isinstance(entry, str))
    return names | named_classes([entry for entry in annotated if isinstance(entry, int)], case.annotation)


def class_order(name: str) -> tuple[float, str]:
    """Return the key that sorts label values by number, and names behind them by letter."""
    return (int(name) if name.isdecimal() else math.inf, name)
