"""Jobs that an older FedSwin has written down: in run folders, in weights files, and at the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMER_SETTINGS: Mapping[str, Mapping[str, Any]] = {"segmentation": {"squared_dice": True}}
"""``{section: {setting: value}}``: what a fine-tuning job did while it was fixed in the code, where that is not the
default of the setting that it has become."""

_SECTIONS = ("model", "data", "pretraining", "segmentation", "augmentation", "trainer", "federation")
_OF_TRAINER = frozenset(
    ("batch_size", "learning_rate", "betas", "weight_decay", "warmup_steps", "gradient_clip", "amp", "device")
)
"""What every version writes down of the section, and hardly a person does."""


def is_record(content: Mapping[str, Any]) -> bool:
    """Tell whether ``content`` is a job as FedSwin writes it down: with every section and every setting that there was.

    A job file of a person leaves settings out, which get their defaults.

    Args:
        content: a job, before it is checked.
    """
    sections = [content.get(name) for name in _SECTIONS]
    return (
        all(isinstance(section, dict) and section for section in sections) and content["trainer"].keys() >= _OF_TRAINER
    )


def as_recorded(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` with the `FORMER_SETTINGS`, if it is an older record of a fine-tuning job.

    A record that lacks a setting is older than the setting.

    Args:
        content: a job, before it is checked.
    """
    if content.get("task") != "finetune" or not is_record(content):
        return content
    return {**content, **{name: {**former, **content[name]} for name, former in FORMER_SETTINGS.items()}}
