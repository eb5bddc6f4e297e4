"""The tasks that a job can name, and how each is built."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import nn

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.data.folds import in_fold
from fedswin.data.usable_cases import usable_cases
from fedswin.pretraining.heads import build_pretrainer
from fedswin.pretraining.task import PretrainingTask
from fedswin.segmentation.model import build_segmenter
from fedswin.segmentation.task import SegmentationTask
from fedswin.training.task import Task

log = logging.getLogger(__name__)


def build_model(job: Job) -> nn.Module:
    """Return the job's model, initialised from the job's seed, on the CPU."""
    return build_pretrainer(job) if job.task == "pretrain" else build_segmenter(job)


def build_task(job: Job, site: Site, device: torch.device, progress: Callable[[str], None] = lambda _: None) -> Task:
    """Read the site's cases, those of the job's fold, and return the job's task on them.

    What is wrong with the site's files goes to its own log and to ``progress``, and no further.

    Raises:
        FedSwinError: if more than ``data.max_bad_cases`` cases cannot be used, or the datalist has no training case or
            does not fit the job.
    """
    usable, warnings = usable_cases(job, site, progress=lambda done, cases: progress(f"checked case {done} of {cases}"))
    for warning in warnings:
        log.warning("%s", warning)
        progress(str(warning))
    kind = PretrainingTask if job.task == "pretrain" else SegmentationTask
    return kind(job, in_fold(usable, job), device, progress)


def training_cases(job: Job, site: Site) -> int:
    """Count the cases that the site would train on: those of the job's fold, for fine-tuning only with a label."""
    site = in_fold(site, job)
    finetunes = job.task == "finetune"
    return len(site.annotated_cases("training", job.segmentation) if finetunes else site.cases("training"))
