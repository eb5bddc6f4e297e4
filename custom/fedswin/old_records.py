"""Jobs that an older FedSwin has written down: in run folders, in weights files, and at the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMER_SETTINGS: Mapping[str, Mapping[str, Any]] = {"segmentation": {"squared_dice": True}}
"""``{section: {setting: value}}``: what a fine-tuning job did while it was fixed in the code, where that is not the
default of the setting that it has become."""

_SECTIONS = ("model", "data", "pretraining", "segmentation", "augmentation", "trainer", "federation")


def as_recorded(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` with the `FORMER_SETTINGS`, if it is an older record of a fine-tuning job.

    A record has every section and every setting that there was, whatever the job file had, so one that lacks a setting
    is older than the setting. A job file of a person leaves sections out, and gets the default.

    Args:
        content: a job, before it is checked.
    """
    sections = [content.get(name) for name in _SECTIONS]
    if content.get("task") != "finetune" or not all(isinstance(section, dict) and section for section in sections):
        return content
    return {**content, **{name: {**former, **content[name]} for name, former in FORMER_SETTINGS.items()}}
