"""Check a site's data before a study starts: every fault of every case at once, each with its fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from fedswin.config import SegmentationSettings
from fedswin.data.datalist import DATALIST, SPLITS, Case, Site
from fedswin.data.volume import (
    VolumeError,
    Voxels,
    hu_problem,
    read_volume,
    read_voxels,
    require_label_values,
    require_same_grid,
)
from fedswin.errors import FedSwinError

_HU_FIX = "Convert it again from DICOM with 'fedswin data convert', which applies the rescale to HU."


@dataclass(frozen=True)
class Finding:
    """One fault: how bad it is, which file or list it is about, the problem, and what to do.

    ``case`` is the case that the file belongs to, ``None`` for a fault of the datalist.
    """

    severity: Literal["error", "warning"]
    where: str
    problem: str
    fix: str
    case: Case | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}. {self.fix}"


def check_site(
    site: Site,
    *,
    labels: SegmentationSettings | None,
    read_labels: bool,
    labelled: bool = False,
    channels: Sequence[str] = ("CT",),
    splits: Sequence[str] = SPLITS,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> list[Finding]:
    """Read every case of ``site`` and return what is wrong, in the order of the datalist.

    A file that cannot be used is an error; an image that cannot be in HU is a warning.

    Args:
        site: as ``read_site`` returns it.
        labels: the classes that the site's label values must stand for, or ``None`` to allow every whole number.
        read_labels: whether to check label maps. Pre-training has no business with them: with ``False``
            no label file is touched.
        labelled: whether to leave aside the cases without a label.
        channels: the modality of each channel that an image must have.
        splits: the splits whose cases are read.
        progress: called with ``(cases done, cases in all)`` after each case.
        workers: how many cases are read at the same time; each takes the memory of one image and label.
    """
    cases = [case for split in splits for case in site.cases(split, labelled=labelled)]
    unfit = _unfit(site, cases, labels) if labels and read_labels else []
    known = None if unfit else labels
    inspect = partial(_inspect, site, labels=known, read_labels=read_labels, channels=channels)
    findings = [*_empty(site), *unfit]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for done, found in enumerate(pool.map(inspect, cases), start=1):
            findings += found
            if progress:
                progress(done, len(cases))
    return findings


def require_sound(findings: Sequence[Finding], *, strict: bool = False) -> list[Finding]:
    """Return the warnings among ``findings``.

    Raises:
        FedSwinError: if there is an error, or with ``strict`` a warning; it lists them, one a line.
    """
    fatal = [finding for finding in findings if strict or finding.severity == "error"]
    if fatal:
        lines = "".join(f"\n- {finding}" for finding in fatal)
        raise FedSwinError(f"The data cannot be used as it is; faults found: {len(fatal)}.{lines}")
    return list(findings)


def _empty(site: Site) -> list[Finding]:
    if site.cases("training"):
        return []
    fix = f"Add cases to 'training' in its {DATALIST}, or leave the site out of the study."
    return [Finding("error", f"{site.name}/{DATALIST}", "there is no training case", fix)]


def _unfit(site: Site, cases: Sequence[Case], labels: SegmentationSettings) -> list[Finding]:
    findings: list[Finding] = []
    for annotation in {case.annotation: None for case in cases}:
        with _collected(site, findings):
            annotation.class_indices(labels)
    return findings


def _inspect(
    site: Site, case: Case, *, labels: SegmentationSettings | None, read_labels: bool, channels: Sequence[str]
) -> list[Finding]:
    findings: list[Finding] = []
    image = label = None
    with _collected(site, findings, case):
        image = read_volume(case.image, len(channels))
        voxels = read_voxels(case.image, len(channels))
        problem = hu_problem(voxels) if channels == ("CT",) else None
        if problem:
            findings.append(Finding("warning", _where(site, case.image), problem, _HU_FIX, case))
    if not case.label or not read_labels:
        return findings
    with _collected(site, findings, case):
        label = read_volume(case.label)
        _require_labels(case, case.label, read_voxels(case.label), labels)
    with _collected(site, findings, case):
        if image is not None and label is not None:
            require_same_grid(case.label, image, label)
    return findings


def _require_labels(case: Case, path: Path, voxels: Voxels, labels: SegmentationSettings | None) -> None:
    indices = case.annotation.class_indices(labels) if labels else None
    require_label_values(path, voxels, indices)
    if labels and indices and case.annotation.annotated:
        shown = {indices[int(value)] for value in np.unique(voxels)} - {0}
        for index in sorted(shown.difference(case.annotation.annotated_indices(labels))):
            name = list(labels.classes)[index - 1]
            fix = "If all cases show it, add it to 'annotated'; if not, map its value to background in 'label_map'."
            raise VolumeError(path, f"holds '{name}', which the datalist does not list as annotated", fix)


@contextmanager
def _collected(site: Site, findings: list[Finding], case: Case | None = None) -> Iterator[None]:
    try:
        yield
    except VolumeError as error:
        findings.append(Finding("error", _where(site, error.path), error.problem, error.fix, case))


def _where(site: Site, path: Path) -> str:
    folder = site.folder.absolute()
    return f"{site.name}/{path.relative_to(folder).as_posix()}" if path.is_relative_to(folder) else str(path)
