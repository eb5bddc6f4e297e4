"""The tasks that a job can name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.pretraining.heads import build_pretrainer
from fedswin.pretraining.task import PretrainingTask
from fedswin.segmentation.model import build_segmenter
from fedswin.segmentation.task import SegmentationTask
from fedswin.training.task import Task


def build_model(job: Job) -> nn.Module:
    """Return the job's model, initialised from the job's seed, on the CPU."""
    return build_pretrainer(job) if job.task == "pretrain" else build_segmenter(job)


def build_task(job: Job, site: Site, device: torch.device, progress: Callable[[str], None] = lambda _: None) -> Task:
    """Read the site's cases and return the job's task on them."""
    if job.task == "pretrain":
        return PretrainingTask(job, site, device, progress)
    return SegmentationTask(job, site, device, progress)


def training_cases(job: Job, site: Site) -> int:
    """Count the cases that the site would train on: for fine-tuning only those with a label."""
    return len(site.cases("training", labelled=job.task == "finetune"))
