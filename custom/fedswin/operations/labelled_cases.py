"""The cases that models are held against: those of site folders that have a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fedswin.config import Job
from fedswin.data.annotation import Annotation
from fedswin.data.datalist import read_site, site_folders
from fedswin.data.folds import in_fold
from fedswin.data.label_map import read_class_indices
from fedswin.data.volume import read_volume, read_voxels, require_label_values, require_same_grid
from fedswin.errors import FedSwinError
from fedswin.segmentation.ensemble import Ensemble


@dataclass(frozen=True)
class LabelledCase:
    """A case of a site that has a label map in which something was annotated."""

    site: str
    image: Path
    label: Path
    annotation: Annotation

    def volume(self, job: Job) -> nib.Nifti1Image:
        """Open the image."""
        return read_volume(self.image, len(job.data.channels))

    def reference(self, job: Job) -> NDArray[np.uint8]:
        """Read the label map as class indices of the job, on the image's own grid."""
        return read_class_indices(self.label, self.volume(job), self.annotation.class_indices(job.segmentation))


def labelled_cases(sites_dir: Path, split: str, ensembles: Iterable[Ensemble]) -> list[LabelledCase]:
    """Return the labelled cases of ``split`` at all sites.

    Args:
        sites_dir: the folder of the site folders, or a single one.
        split: ``test`` or ``validation``; the latter as the fold of the models has it.
        ensembles: the models.

    Raises:
        FedSwinError: if the models are of several folds and ``split`` is ``validation``, or there is no labelled case.
    """
    sites = [read_site(folder) for folder in site_folders(sites_dir).values()]
    if split == "validation":
        dealt_as = _shared_deal(ensembles)
        sites = [in_fold(site, dealt_as) for site in sites]
    cases = [
        LabelledCase(site.name, case.image, case.label, case.annotation)
        for site in sites
        for case in site.cases(split)
        if case.label and case.is_labelled
    ]
    if not cases:
        raise FedSwinError(f"{sites_dir}: no case of the split '{split}' has a label, so there is nothing to score.")
    return cases


def check_cases(cases: Sequence[LabelledCase], jobs: Sequence[Job], progress: Callable[[str], None]) -> None:
    """Read each file of the cases once, whatever the number of models.

    Args:
        cases: the cases.
        jobs: those of the models that are to segment them.
        progress: called with a line before each case.

    Raises:
        FedSwinError: if a file cannot be used, or does not fit one of the jobs.
    """
    for case in cases:
        progress(f"checking the data of {case.site}")
        _check_case(case, jobs)


def _shared_deal(ensembles: Iterable[Ensemble]) -> Job:
    """Return a job that deals training and validation cases as those of all models do."""
    jobs = [job for ensemble in ensembles for job in ensemble.jobs]
    if len({None if job.data.fold is None else (job.data.fold, job.data.folds, job.seed) for job in jobs}) > 1:
        raise FedSwinError(
            "The models are of several folds, and what is held out of one was trained on in another. Score each fold's "
            "model by itself, or all on the test cases (--split test)."
        )
    return jobs[0]


def _check_case(case: LabelledCase, jobs: Sequence[Job]) -> None:
    for channels in {len(job.data.channels) for job in jobs}:
        read_voxels(case.image, channels)
        require_same_grid(case.label, read_volume(case.image, channels), read_volume(case.label))
    values = np.unique(read_voxels(case.label))
    for job in jobs:
        require_label_values(case.label, values, case.annotation.class_indices(job.segmentation))
