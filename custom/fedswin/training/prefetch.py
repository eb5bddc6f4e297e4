"""Batches made ahead: while a step runs, a thread makes the batch of the next one.

MONAI's ``ThreadBuffer`` does the same, but ends quietly when the thread fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

T = TypeVar("T")


def made_ahead(make: Callable[[int], T], numbers: Sequence[int]) -> Generator[tuple[T, float], None, None]:
    """Yield ``make(number)`` for each number, each made in a thread while the caller works with the one before.

    The thread is at most one ahead, and has ended when the generator is closed or runs out.

    Args:
        make: makes one; what it raises comes up where its result is asked for.
        numbers: what to make, in this order.

    Yields:
        Each result, and the seconds that the caller has waited for it.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = [thread.submit(make, number) for number in numbers[:1]]
        for place in range(len(numbers)):
            started = time.perf_counter()
            made = coming.pop().result()
            waited = time.perf_counter() - started
            coming = [thread.submit(make, number) for number in numbers[place + 1 : place + 2]]
            yield made, waited


def on_device(batch: Any, device: torch.device) -> Any:
    """Return ``batch`` with its tensors on a GPU, copied without waiting for the GPU; for a CPU as it is.

    Args:
        batch: tuples, lists and dictionaries of tensors and other things.
        device: the GPU by number, or the CPU.
    """
    if device.type != "cuda":
        return batch
    with torch.cuda.device(device):  # a thread starts with the first GPU
        return tree_map_only(Tensor, lambda tensor: tensor.pin_memory().to(device, non_blocking=True), batch)
