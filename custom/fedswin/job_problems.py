"""What is wrong with a job as a whole: settings that are fine one by one, and do not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedswin.errors import nearest

if TYPE_CHECKING:
    from fedswin.config import Job


def job_problem(job: Job) -> str | None:
    """Say what does not go together in ``job`` and what to do, or return ``None``."""
    problem = _pretraining_problem(job) if job.task == "pretrain" else _finetuning_problem(job)
    return problem or _selection_problem(job)


def _pretraining_problem(job: Job) -> str | None:
    if job.trainer.batch_size < 2 and job.pretraining.loss_weights.contrastive:
        return (
            "trainer.batch_size is 1: contrastive coding needs at least 2 sub-volumes, since with 1 there are no "
            "negatives. Raise it, or set pretraining.loss_weights.contrastive to 0"
        )
    if problem := _crops_problem(job):
        return problem
    if not job.data.is_ct:
        return f"data.channels {list(job.data.channels)}: pre-training is of CT alone"
    if not any(job.pretraining.loss_weights.model_dump().values()):
        return "pretraining.loss_weights: all three are 0, so there is nothing to learn"
    for name, value in (("reconstruction_head", "vae"), ("token_pooling", "first")):
        if getattr(job.pretraining, name) == value and max(job.data.roi) < 64:
            return (
                f"data.roi {list(job.data.roi)}: pretraining.{name} '{value}' needs at least one side of 64 or more, "
                "since it cannot work on a bottleneck of a single token"
            )
    axis = "xyz".index(job.pretraining.rotation_axis)
    plane = [side for number, side in enumerate(job.data.roi) if number != axis]
    if plane[0] != plane[1]:
        return (
            f"data.roi {list(job.data.roi)}: the two sides perpendicular to {job.pretraining.rotation_axis} must be "
            "equal, since the sub-volume is rotated in that plane"
        )
    return None


def _crops_problem(job: Job) -> str | None:
    batch, settings = job.trainer.batch_size, job.pretraining
    if batch % settings.crops_per_case:
        return (
            f"pretraining.crops_per_case {settings.crops_per_case}: trainer.batch_size {batch} is not a multiple of "
            "it. Change one of them"
        )
    only_others = settings.loss_weights.contrastive and settings.contrastive_negatives == "other_patients"
    if only_others and batch == settings.crops_per_case:
        return (
            f"pretraining.contrastive_negatives 'other_patients': with crops_per_case {batch} all {batch} sub-volumes "
            "of a batch are of one case, so there are no negatives. Raise trainer.batch_size, or set it to 'all'"
        )
    return None


def _finetuning_problem(job: Job) -> str | None:
    if not job.segmentation.classes:
        return "segmentation.classes is empty: name at least one class and its label value"
    if max(job.data.roi) < 64 and job.segmentation.decoder == "unetr":
        return (
            f"data.roi {list(job.data.roi)}: segmentation needs at least one side of 64 or more, since instance "
            "norm cannot work on a bottleneck of a single voxel"
        )
    return None


def _selection_problem(job: Job) -> str | None:
    metric = job.federation.selection.metric
    if metric is None or metric in job.metrics:
        return None
    return (
        f"federation.selection.metric '{metric}': no site reports it{nearest(metric, job.metrics)}. "
        f"There are {', '.join(job.metrics)}"
    )
