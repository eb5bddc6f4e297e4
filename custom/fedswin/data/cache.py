"""Where preprocessed cases are kept on disk (``data.cache: disk``), how much room they take there, and may take."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from fedswin.config import Job
from fedswin.data.prepared import index_type
from fedswin.errors import FedSwinError

BOUND = "FEDSWIN_CACHE_GB"
"""The environment variable with the most that the cache may take, in GB."""

_IMAGE_BYTES = 2
_LABEL_BYTES = 1
_LEFT_FREE = 10  # without a bound, a tenth of the disk


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
    label = _LABEL_BYTES + index_type(voxels).itemsize  # and the voxel's place in the list of foreground or background
    return voxels * (len(job.data.channels) * _IMAGE_BYTES + (label if job.task == "finetune" else 0))


def cache_limit(folder: Path) -> int:
    """Return the most bytes that the cache in ``folder`` may take: ``FEDSWIN_CACHE_GB``, as far as the disk has room.

    Without it, the cache may grow until a tenth of the disk is left.

    Raises:
        FedSwinError: if ``FEDSWIN_CACHE_GB`` is no number.
    """
    held = sum(map(bytes_of, entries(folder)))
    disk = shutil.disk_usage(_existing(folder))
    bound = os.environ.get(BOUND)
    if not bound:
        return held + max(0, disk.free - disk.total // _LEFT_FREE)
    return min(_gigabytes(bound), held + disk.free)


def entries(folder: Path) -> list[Path]:
    """Return the folders of the cases that are in the cache."""
    return [path for path in folder.glob("?" * 64) if re.fullmatch("[0-9a-f]{64}", path.name) and path.is_dir()]


def bytes_of(entry: Path) -> int:
    """Return how many bytes a case takes."""
    return sum(file.stat().st_size for file in entry.iterdir())


def _gigabytes(text: str) -> int:
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise FedSwinError(f"{BOUND} is '{text}' in the environment. Set it to a number of GB, such as 500.") from None


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
