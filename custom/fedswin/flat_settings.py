"""The settings of a job one by one, by their names in the job file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fedswin.config import Job

_OF_THE_OTHER_TASK = {"pretrain": ("augmentation", "segmentation"), "finetune": ("pretraining",)}
"""Sections of a job that say nothing about a task."""


def flat_settings(job: Job, whole: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings that the job's task reads, such as ``trainer.learning_rate``, as plain values.

    Args:
        job: the job.
        whole: the mappings that are one setting each, and are not taken apart.
    """
    sections = {name: value for name, value in job.as_dict().items() if name not in _OF_THE_OTHER_TASK[job.task]}
    return dict(_flat(sections, whole))


def _flat(content: Mapping[str, Any], whole: Collection[str], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and name not in whole:
            yield from _flat(value, whole, f"{name}.")
        else:
            yield name, value
