"""The processes that train one site's model together: each on batches of its own, with the mean of their gradients.

Process 0 leads: it alone knows what is to be done next, and tells the others. Every process holds the same model and
the same optimizer, since all of them start from what process 0 has and apply the same gradients. So only process 0 has
a state to keep.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fedswin.errors import FedSwinError
from fedswin.training.scores import mean_scores

_PATIENCE = timedelta(days=365)
"""How long a process waits for an order: other sites may take days for a round. That one has died shows at once."""


class RoundFailedError(FedSwinError):
    """What is wrong with a round, raised by all processes at the same place: they are ready for another one."""


class Ranks:
    """One process among those that train a site's model; by default the only one.

    Args:
        rank: its number; process 0 leads.
        size: how many there are.
        gradients: the group over which gradients are averaged.

    Attributes:
        is_broken: whether this process has failed where the others have not, so that they wait for it in vain.
    """

    def __init__(self, rank: int = 0, size: int = 1, gradients: dist.ProcessGroup | None = None) -> None:
        self.rank = rank
        self.size = size
        self._gradients = gradients
        self.is_broken = False

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def tell(self, order: Any = None) -> Any:
        """Hand process 0's ``order`` to the others, which wait for it here, and return it in all of them."""
        if self.size == 1:
            return order
        box = [order]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def batch_number(self, step: int) -> int:
        """Return which of the site's batches this process takes in a step; of one process it is the step."""
        return step * self.size + self.rank

    def averaging(self, module: nn.Module) -> nn.Module:
        """Return ``module`` so that a backward pass leaves the mean of all processes' gradients; all must call it."""
        if self.size == 1:
            return module
        dist.barrier()  # the others may read their cases for longer than a collective on a GPU would wait
        # No model here has buffers that change, and a head without weight is not built, so no parameter is unused.
        return DistributedDataParallel(module, process_group=self._gradients, broadcast_buffers=False)

    @torch.no_grad()
    def align(self, model: nn.Module) -> None:
        """Set every process's model to that of process 0."""
        if self.size > 1:
            for parameter in model.parameters():
                dist.broadcast(parameter, src=0, group=self._gradients)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of each value over the processes."""
        if self.size == 1:
            return dict(values)
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, values)
        return mean_scores(found)

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Run a block that each process does by itself; if it fails in one of them, it fails in all.

        Raises:
            RoundFailedError: if there are several processes and one has failed. A single one raises what it raises.
        """
        if self.size == 1:
            yield
            return
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        failed = torch.tensor([failure is not None], dtype=torch.int32)
        dist.all_reduce(failed, dist.ReduceOp.SUM)
        if failed:
            kind = type(failure).__name__ if failure else "see what the other process has logged"
            raise RoundFailedError(
                f"A batch could not be made in {int(failed)} of {self.size} processes: {kind}."
            ) from failure

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block in which the processes wait for each other, and note if it fails in this one alone."""
        try:
            yield
        except RoundFailedError:
            raise
        except BaseException:
            self.is_broken = self.size > 1
            raise


ALONE = Ranks()
"""One process that trains by itself."""


@contextmanager
def joined(rank: int, size: int, meeting: Path, *, device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes of this machine, over its loopback interface.

    Args:
        rank: this process's number.
        size: how many processes there are.
        meeting: a file, not there yet, that all of them name and nobody else knows.
        device: what they train on; process r takes the r-th GPU that it sees.
    """
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    torch.set_num_threads(max(1, torch.get_num_threads() // size))  # they share the cores
    store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined]  # it is public: torch documents it
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield Ranks(rank, size, _gradients(rank, size, device))
    finally:
        dist.destroy_process_group()


def _gradients(rank: int, size: int, device: torch.device) -> dist.ProcessGroup | None:
    """Return the group for gradients: NCCL if each process has a GPU of its own, otherwise the one there is."""
    if device.type != "cuda":
        return None
    torch.cuda.set_device(rank % torch.cuda.device_count())
    return dist.new_group(backend="nccl") if torch.cuda.device_count() >= size else None
