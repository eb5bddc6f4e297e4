"""Memory of a training process: what it holds, and an allocator that keeps what the next step needs again."""

from __future__ import annotations

import ctypes
import platform

import psutil
import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc to return nothing to the system; elsewhere do nothing.

    By default it hands every large block back, and a step on a CPU then spends much of its time in page faults.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        libc.mallopt(_MMAP_THRESHOLD, _NEVER)


def memory_in_use(device: torch.device) -> int:
    """Return the bytes that training needs: the most that torch has had on a GPU, or this process's physical memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)
