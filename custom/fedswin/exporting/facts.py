"""What a tool has to know of a model before it can use it: every form carries it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedswin.errors import FedSwinError
from fedswin.weights.file import Weights


def facts(weights: Weights) -> dict[str, Any]:
    """Return, as plain values, how images are prepared, what the channels of the output are, and where it is from."""
    job = weights.job
    return {
        "orientation": "RAS",
        "channels": list(job.data.channels),
        "spacing": list(job.data.spacing) if job.data.spacing else None,
        "hu_window": list(job.data.hu_window) if job.data.is_ct else None,
        "roi": list(job.data.roi),
        "classes": {"background": 0, **job.segmentation.class_indices},
        "label_values": {"background": 0, **job.segmentation.written_values},
        "tensors_sha256": weights.digest,
        "job": job.as_dict(),
        "provenance": dict(weights.provenance),
    }


def read_object(text: str, path: Path) -> dict[str, Any]:
    """Read a JSON object that a form carries.

    Args:
        text: the JSON.
        path: the file that has it, for messages.

    Raises:
        FedSwinError: if it is something else.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise FedSwinError(
            f"What {path} says of itself is not as FedSwin writes it: it is damaged, or another tool made it. Export "
            "the model again."
        )
    return content
