"""One case: each of its files is read once, for its faults and for what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from fedswin.config import DataSettings, Job, SegmentationSettings
from fedswin.data.check.digest import voxel_digest
from fedswin.data.check.finding import Finding, collected, place
from fedswin.data.datalist import Case, Site
from fedswin.data.shown_classes import class_order, named_classes
from fedswin.data.volume import (
    Grid,
    VolumeError,
    Voxels,
    grid_of,
    hu_problem,
    read_volume,
    read_voxels,
    require_label_values,
    require_same_grid,
)

_HU_FIX = "Convert it again from DICOM with 'fedswin data convert', which applies the rescale to HU."


@dataclass(frozen=True)
class Demands:
    """What is asked of the files of a case.

    Attributes:
        labels: the classes that label values must stand for, or ``None`` to allow every whole number.
        read_labels: whether to check label maps; with ``False`` no label file is touched.
        channels: the modality of each channel that an image must have.
        digests: whether to digest the images' voxels, to find those that are there twice.
    """

    labels: SegmentationSettings | None = None
    read_labels: bool = True
    channels: tuple[str, ...] = DataSettings().channels
    digests: bool = False

    @classmethod
    def of(cls, job: Job | None, *, digests: bool = False) -> Demands:
        """Return what ``job`` asks; for pre-training no labels are read. Without a job: any label value, and CT."""
        if job is None:
            return cls(digests=digests)
        return cls(job.segmentation, job.task == "finetune", job.data.channels, digests)


@dataclass(frozen=True)
class CaseReport:
    """What was found of a case.

    Attributes:
        split: the split that it is in.
        case: the case.
        findings: its faults.
        grid: the image's, or ``None`` if its header cannot be used.
        digest: of the image's voxels, or ``None`` if they cannot be read or were not asked for.
        shown: what its label map shows beside background: names of the job's classes, or without a job the names that
            the datalist gives to label values, or the values. ``None`` without a label map that can be used.
    """

    split: str
    case: Case
    findings: list[Finding]
    grid: Grid | None = None
    digest: str | None = None
    shown: tuple[str, ...] | None = None


def read_case(site: Site, split: str, case: Case, demands: Demands) -> CaseReport:
    """Read the files of ``case``, one after the other, to their last byte.

    Args:
        site: the site, for the names of its files.
        split: the split that the case is in.
        case: the case.
        demands: what is asked of it.
    """
    findings: list[Finding] = []
    image = label = grid = digest = shown = None
    with collected(site, findings, case):
        image = read_volume(case.image, len(demands.channels))
        grid = grid_of(image)
        digest = _read_image(site, case, image, demands, findings)
    if case.label and demands.read_labels:
        with collected(site, findings, case):
            label = read_volume(case.label)
            shown = _shown(case, case.label, np.unique(read_voxels(case.label)), demands.labels)
        with collected(site, findings, case):
            if image is not None and label is not None:
                require_same_grid(case.label, image, label)
    return CaseReport(split, case, findings, grid, digest, shown)


def _read_image(
    site: Site, case: Case, image: nib.Nifti1Image, demands: Demands, findings: list[Finding]
) -> str | None:
    voxels = read_voxels(case.image, len(demands.channels))
    problem = hu_problem(voxels) if demands.channels == ("CT",) else None
    if problem:
        findings.append(Finding("warning", place(site, case.image), problem, _HU_FIX, case))
    return voxel_digest(voxels, image.affine) if demands.digests else None


def _shown(case: Case, path: Path, values: Voxels, labels: SegmentationSettings | None) -> tuple[str, ...]:
    indices = case.annotation.class_indices(labels) if labels else None
    require_label_values(path, values, indices)
    if labels is None or indices is None:
        return tuple(sorted(named_classes(values, case.annotation), key=class_order))
    shown = {indices[int(value)] for value in values}
    names = tuple(name for name, index in labels.class_indices.items() if index in shown)
    if stray := case.annotation.stray_class([int(value) for value in values], labels):
        fix = (
            "Add it to 'annotated', the site's if all cases show it or the case's own; or map its value to background "
            "in 'label_map'."
        )
        raise VolumeError(path, f"holds '{stray}', which the datalist does not list as annotated", fix)
    return names
