"""Lets the allocator keep what a training step frees, for the next step needs the same again."""

from __future__ import annotations

import ctypes
import platform

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
