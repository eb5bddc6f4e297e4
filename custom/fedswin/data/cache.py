"""Where preprocessed cases are kept on disk (``data.cache: disk``), and how much room they take there."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from fedswin.config import Job

_IMAGE_BYTES = 4
_LABEL_BYTES = 1 + 8  # the class, and the voxel's place in the list of foreground or background


def cache_folder() -> Path:
    """Return ``FEDSWIN_CACHE``, or without it ``~/.cache/fedswin``."""
    return Path(os.environ.get("FEDSWIN_CACHE", Path.home() / ".cache" / "fedswin"))


def cached_bytes(job: Job, shape: Sequence[int]) -> int:
    """Return how many bytes a preprocessed case takes at most: the crop to the body only makes it smaller.

    Args:
        job: the job.
        shape: the size in voxels after resampling; a volume smaller than ``data.roi`` is padded to it.
    """
    voxels = math.prod(max(size, side) for size, side in zip(shape, job.data.roi, strict=True))
    return voxels * (len(job.data.channels) * _IMAGE_BYTES + (_LABEL_BYTES if job.task == "finetune" else 0))
