"""How tensors are handed to the compiled kernels, and how threads share their work."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

try:
    from fedswin.swin import kernels as kernels
except ImportError:  # a new Python has torch before it has numba, or the compiler is switched off
    kernels = None  # type: ignore[assignment]


def takes(tensor: Tensor) -> bool:
    """Tell whether the kernels are there, and are for tensors such as this one."""
    on_cpu = kernels is not None and tensor.device.type == "cpu" and tensor.dtype == torch.float32
    return on_cpu and not torch.compiler.is_compiling()


def parts(count: int) -> list[tuple[int, int]]:
    """Share ``count`` items out among torch's threads: of each its first item, and the one to end before."""
    number = min(torch.get_num_threads(), count)
    bounds = [count * part // number for part in range(number + 1)]
    return list(itertools.pairwise(bounds))


def run(kernel: Callable[..., None], *calls: Sequence[Any]) -> None:
    """Run ``kernel`` with the arguments of each call, several calls at the same time. It is given arrays."""
    given = [[value.detach().numpy() if isinstance(value, Tensor) else value for value in call] for call in calls]
    if len(given) == 1:
        kernel(*given[0])
    else:
        list(_pool(len(given)).map(lambda call: kernel(*call), given))


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="attention")


if hasattr(os, "register_at_fork"):
    # The threads of a pool do not come along, and whoever waits for them waits for ever.
    os.register_at_fork(after_in_child=_pool.cache_clear)
