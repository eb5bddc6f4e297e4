"""What a site holds: cases, patients, classes and voxel sizes, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fedswin.data.datalist import SPLITS, Case, Site
from fedswin.data.shown_classes import ShownClasses, annotated_names, class_order
from fedswin.data.spread import spreads
from fedswin.data.volume import VolumeError, read_grid

Spacing = tuple[float, float, float]
"""The size of a voxel along R, A and S, in mm."""


@dataclass(frozen=True)
class Holdings:
    """What a site holds.

    Attributes:
        cases: the number of cases of each split.
        patients: the number of patients.
        labelled: the number of cases with a label map in which something was annotated.
        classes: for each class, the number of cases whose label map shows it; ``None`` if label maps were not read.
        spacings: the voxel size of each image whose header can be read.
        unreadable: the number of the other images.
        annotated: for each class, the number of labelled cases in which it was annotated; ``None`` if no datalist says.
    """

    cases: Mapping[str, int]
    patients: int
    labelled: int
    classes: Mapping[str, int] | None
    spacings: tuple[Spacing, ...]
    unreadable: int
    annotated: Mapping[str, int] | None = None

    @property
    def spacing(self) -> dict[str, Spacing] | None:
        """The ``min``, ``median`` and ``max`` of the voxel sizes along each axis, or ``None`` if there is none."""
        if not self.spacings:
            return None
        rows = zip(*spreads(self.spacings).values(), strict=True)
        return dict(zip(("min", "median", "max"), rows, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; of the voxel sizes, only their range and median."""
        return {
            "cases": dict(self.cases),
            "patients": self.patients,
            "labelled": self.labelled,
            "unreadable": self.unreadable,
            "classes": self.classes,
            "annotated": self.annotated,
            "spacing_mm": self.spacing,
        }


def holdings(site: Site, shown: ShownClasses | None = None) -> Holdings:
    """Count what ``site`` holds; of its images only the headers are read.

    Args:
        site: the site's cases.
        shown: the classes that its label maps show, if they were read.
    """
    cases = [case for split in SPLITS for case in site.cases(split)]
    labels = [case.label for case in cases if case.label]
    spacings = _spacings(cases)
    return Holdings(
        cases={split: len(site.cases(split)) for split in SPLITS},
        patients=len({case.patient for case in cases}),
        labelled=sum(case.is_labelled for case in cases),
        classes=None if shown is None else _in_order(Counter(name for label in labels for name in shown[label])),
        spacings=spacings,
        unreadable=len(cases) - len(spacings),
        annotated=_annotated(cases),
    )


def cases_by_class(sites: Mapping[str, Holdings]) -> dict[str, dict[str, int]]:
    """Return how many cases of each site show each class, ``{class: {site: cases}}``; empty without label maps."""
    return _by_class({site: held.classes or {} for site, held in sites.items()})


def annotated_by_class(sites: Mapping[str, Holdings]) -> dict[str, dict[str, int]]:
    """Return in how many cases of each site each class was annotated, likewise; empty where no datalist says it."""
    return _by_class({site: held.annotated or {} for site, held in sites.items()})


def _by_class(sites: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    classes = sorted({name for counts in sites.values() for name in counts}, key=class_order)
    return {name: {site: counts.get(name, 0) for site, counts in sites.items()} for name in classes}


def _annotated(cases: Sequence[Case]) -> dict[str, int] | None:
    said = [names for case in cases if case.label and (names := annotated_names(case)) is not None]
    return _in_order(Counter(name for names in said for name in names)) if said else None


def _spacings(cases: Sequence[Case]) -> tuple[Spacing, ...]:
    spacings = []
    for case in cases:
        with suppress(VolumeError):  # 'fedswin data check' says what is wrong with a file; here it is only counted
            spacings.append(read_grid(case.image).spacing)
    return tuple(spacings)


def _in_order(classes: Mapping[str, int]) -> dict[str, int]:
    return {name: classes[name] for name in sorted(classes, key=class_order)}
