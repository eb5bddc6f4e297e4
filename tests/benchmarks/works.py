"""What sides do in tests; their processes import it from here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from fedswin.errors import FedSwinError

MEGABYTE = 2**20


def noting(file: Path, name: str) -> Callable[[], tuple[int, int]]:
    """Write the name; return the process and torch's threads."""

    def note() -> tuple[int, int]:
        with file.open("a") as opened:
            opened.write(f"{name}\n")
        return os.getpid(), torch.get_num_threads()

    return note


def allocating(megabytes: int) -> Callable[[], None]:
    """Hold so much for a moment."""
    return lambda: torch.ones(megabytes * MEGABYTE // 4).sum() and None


def sleeping(duration: float) -> Callable[[], None]:
    """Sleep."""
    return partial(time.sleep, duration)


def failing_to_build() -> Callable[[], None]:
    """Fail before there is any work."""
    raise FedSwinError("There is no such case.")


def dying() -> Callable[[], None]:
    """End the process."""
    return partial(os._exit, 9)
