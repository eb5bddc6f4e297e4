"""Which classes label maps show, read before a job is known: what the datalist calls them, or their label values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case
from fedswin.data.label_maps import BACKGROUND, LABEL_MAPS
from fedswin.data.volume import VolumeError, read_voxels, require_label_values
from fedswin.errors import FedSwinError

ShownClasses = Mapping[Path, frozenset[str]]
"""The classes that each label map shows, background left out."""


def shown_classes(cases: Sequence[Case], progress: Callable[[str], None] = lambda _: None) -> ShownClasses:
    """Read the label maps of ``cases``, one at a time.

    Args:
        cases: the cases; those without a label map are passed over.
        progress: called with a short text before each label map.

    Returns:
        The names of the classes for each label map. The name is the one that the datalist's ``label_map`` gives to the
        label value, or the value itself: ``"7"``.

    Raises:
        FedSwinError: if label maps cannot be read or hold fractions; it names all of them, one a line.
    """
    maps = {case.label: case.annotation for case in cases if case.label}
    shown, faults = {}, []
    for number, (path, annotation) in enumerate(maps.items(), start=1):
        progress(f"reading label map {number} of {len(maps)}")
        try:
            shown[path] = _classes(path, annotation)
        except VolumeError as error:
            faults.append(f"\n- {error}")
    if faults:
        raise FedSwinError(f"Label maps that cannot be read: {len(faults)} of {len(maps)}.{''.join(faults)}")
    return shown


def named_classes(values: NDArray[Any], annotation: Annotation) -> frozenset[str]:
    """Return what label values, whole numbers, stand for as far as the datalist says it; background is left out."""
    own = annotation.label_map
    names: Mapping[int, str] = {0: BACKGROUND, **(LABEL_MAPS[own] if isinstance(own, str) else own)}
    return frozenset(names.get(value, str(value)) for value in values.astype(int).tolist()) - {BACKGROUND}


def class_order(name: str) -> tuple[float, str]:
    """Return the key that sorts label values by number, and names behind them by letter."""
    return (int(name) if name.isdecimal() else math.inf, name)


def _classes(path: Path, annotation: Annotation) -> frozenset[str]:
    values = np.unique(read_voxels(path))
    require_label_values(path, values, None)
    return named_classes(values, annotation)
