"""What a tool has to know of a model before it can use it: every form carries it."""

from __future__ import annotations

from typing import Any

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
