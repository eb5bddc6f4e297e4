"""Whether sound data fit a job: the size and spacing of images, what is labelled, and the room for the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedswin.config import DataSettings, Job
from fedswin.data.cache import BOUND, cache_folder, cache_limit, cached_bytes
from fedswin.data.check.finding import Finding, place
from fedswin.data.check.site import SiteReport
from fedswin.data.datalist import DATALIST, Site
from fedswin.data.volume import Grid

_FAR = 4.0
"""So many times the job's spacing, or a part of it as small, an image is mostly made up or mostly thrown away."""


def fit_to_job(report: SiteReport, job: Job) -> list[Finding]:
    """Say what of a site does not fit ``job`` although each file is sound."""
    findings = [*_unlabelled(report.site, job), *_unannotated(report.site, job)] if job.task == "finetune" else []
    for found in report.cases:
        for judge in (_padding, _far_spacing):
            if found.grid and (judged := judge(found.grid, job.data)):
                findings.append(Finding("warning", place(report.site, found.case.image), *judged, found.case))
    return findings


def resampled_shape(grid: Grid, data: DataSettings) -> tuple[int, ...]:
    """Return the size in voxels along R, A and S that an image has once it is resampled to ``data.spacing``."""
    sizes = zip(grid.shape, grid.spacing, data.spacing or grid.spacing, strict=True)
    return tuple(round((size - 1) * own / wanted + 1) for size, own, wanted in sizes)


def room_for_cache(reports: Sequence[SiteReport], job: Job) -> list[Finding]:
    """Warn if the cache has no room for what ``data.cache: disk`` may write for all sites of this machine together."""
    if job.data.cache != "disk":
        return []
    grids = [
        found.grid
        for report in reports
        for found in report.cases
        if found.grid and found.split != "test" and (found.case.label or job.task == "pretrain")
    ]
    needed = sum(cached_bytes(job, resampled_shape(grid, job.data)) for grid in grids)
    limit = cache_limit(cache_folder())
    if needed <= limit:
        return []
    problem = f"{len(grids)} cases may take {needed / 1e9:.3g} GB, and the cache may take {limit / 1e9:.3g} GB"
    fix = f"Free space, raise {BOUND}, set FEDSWIN_CACHE to a folder on a larger disk, or set data.cache to memory."
    return [Finding("warning", f"data.cache: disk, in {cache_folder()}", problem, fix)]


def _unlabelled(site: Site, job: Job) -> list[Finding]:
    if not site.cases("training") or site.annotated_cases("training", job.segmentation):
        return []
    fix = "Label training cases, or leave the site out of fine-tuning: pre-training needs no label."
    problem = "no training case has a label of a class of the job, and the job fine-tunes"
    return [Finding("error", f"{site.name}/{DATALIST}", problem, fix)]


def _unannotated(site: Site, job: Job) -> list[Finding]:
    """Warn of labelled cases in which no class of the job was annotated; whoever reads the list may not expect it."""
    labelled = {split: len(site.cases(split, labelled=True)) for split in site.splits}
    left_out = sum(count - len(site.annotated_cases(split, job.segmentation)) for split, count in labelled.items())
    if not left_out:
        return []
    problem = f"{left_out} of {sum(labelled.values())} labelled cases annotate no class of the job, and are left out"
    fix = "That is as it should be if their 'annotated' is right; else correct it."
    return [Finding("warning", f"{site.name}/{DATALIST}", problem, fix)]


def _padding(grid: Grid, data: DataSettings) -> tuple[str, str] | None:
    shape = resampled_shape(grid, data)
    padded = 1 - math.prod(min(1.0, size / side) for size, side in zip(shape, data.roi, strict=True))
    if not padded:
        return None
    problem = f"{padded:.0%} of a crop would be padding: it has {_by(shape)} voxels at the job's spacing"
    fix = "Choose a smaller data.roi or a finer data.spacing, unless such cases are few."
    return f"{problem}, and data.roi is {_by(data.roi)}", fix


def _far_spacing(grid: Grid, data: DataSettings) -> tuple[str, str] | None:
    if data.spacing is None:
        return None
    ratios = [own / wanted for own, wanted in zip(grid.spacing, data.spacing, strict=True)]
    if max(ratios) <= _FAR and min(ratios) >= 1 / _FAR:
        return None
    problem = f"its spacing is {_by(grid.spacing)} mm, over {_FAR:.0f} times off data.spacing, {_by(data.spacing)} mm"
    return problem, "Take the case off the list, or choose a data.spacing that is nearer to what the sites have."


def _by(sizes: Sequence[float]) -> str:
    return " × ".join(f"{round(size, 2):g}" for size in sizes)
