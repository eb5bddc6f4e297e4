"""The sides of a comparison: each in a process of its own, measured in turn.

What a side sets for its whole process, such as the allocator or deterministic algorithms, cannot help or hinder the
other one, and its peak of memory is its own. While one works, the others wait.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch

from fedswin.benchmarks.row import Bar, Growth, Row
from fedswin.errors import FedSwinError

Work = Callable[[], Any]
"""What is measured: called again and again, it does the next step, case or round."""
Build = Callable[[], Work]
"""Makes the work in the side's own process; it must be picklable. It is not measured."""

_STATUS = Path("/proc/self/status")
_PATIENCE_SECONDS = 10.0
_PROCESSES = multiprocessing.get_context("forkserver")


class Run(NamedTuple):
    """One call of a side's work.

    Attributes:
        seconds: how long it took.
        peak: the most memory in bytes that the side has held until now, all of the process on a CPU, torch's tensors
            on a GPU; ``None`` where the system does not tell.
        result: what it returned.
    """

    seconds: float
    peak: int | None
    result: Any


class Side:
    """One side, whose process ends with the block.

    Args:
        build: makes the work.
        threads: of torch.

    Raises:
        FedSwinError: if the work cannot be made.
    """

    def __init__(self, build: Build, threads: int) -> None:
        _prepare_processes()
        self._connection, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(theirs, build, threads), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Side:
        self._answer(asking=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()  # which is how the process learns that it is over
        self._process.join(_PATIENCE_SECONDS)
        self._process.kill()

    def run(self) -> Run:
        """Have the work done once.

        Raises:
            FedSwinError: if it fails, or its process dies.
        """
        return Run(*self._answer(asking=True))

    def _answer(self, *, asking: bool) -> Any:
        try:
            if asking:
                self._connection.send(True)
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise FedSwinError("The process that was measured has ended, perhaps for want of memory.") from None
        if isinstance(answer, str):
            raise FedSwinError(answer)
        return answer


def in_turn(sides: Mapping[str, Build], repeats: int, threads: int, warm_ups: int = 1) -> dict[str, list[Run]]:
    """Measure the sides in turn, A B A B …, after a warm-up.

    Args:
        sides: what makes the work of each.
        repeats: how often each is measured.
        threads: of torch in each process.
        warm_ups: how often each works before the first measurement.

    Returns:
        The runs of each side, in the order in which they were made.
    """
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    with ExitStack() as stack:
        running = {name: stack.enter_context(Side(build, threads)) for name, build in sides.items()}
        for turn in range(warm_ups + repeats):
            for name, side in running.items():
                run = side.run()
                if turn >= warm_ups:
                    runs[name].append(run)
    return runs


def seconds(runs: Sequence[Run]) -> list[float]:
    """Return how long each run took."""
    return [run.seconds for run in runs]


def rates(runs: Sequence[Run], count: float) -> list[float]:
    """Return how many things a second each run did that did ``count`` of them."""
    return [count / run.seconds for run in runs]


def _prepare_processes() -> None:
    """Have the modules that take long to import loaded once, by the process that all sides are copies of."""
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # as 'fedswin simulate' sets it; here for both sides
    _PROCESSES.set_forkserver_preload(["fedswin.tasks", "fedswin.benchmarks.plain"])


def peak_row(
    kind: str,
    subject: str,
    against: str,
    runs: Mapping[str, Sequence[Run]],
    bars: Sequence[Bar] = (),
    growths: Sequence[Growth] = (),
) -> Row:
    """Return the row of the peaks of two sides, FedSwin's first, as they were after their last runs."""
    ours, other = (peaks[-1].peak for peaks in runs.values())
    if ours is None or other is None:
        return Row(
            kind, subject, "peak memory", not_measured="this system does not tell the peak of a process's memory"
        )
    return Row(kind, subject, "peak memory", "MB", [ours / 1e6], against, [other / 1e6], bars, growths)


def peak_bytes() -> int | None:
    """Return the most memory that this process has held so far, see `Run`.

    ``getrusage`` would count the parent's memory, too, from before this program took its child's place.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    if not _STATUS.exists():
        return None
    [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def _serve(connection: Connection, build: Build, threads: int) -> None:
    """Make the work, and do it as often as the other end asks."""
    warnings.simplefilter("ignore")  # both as the command line has it
    logging.getLogger().addHandler(logging.NullHandler())
    torch.set_num_threads(threads)
    try:
        work = build()
        connection.send(None)
        while connection.recv():
            started = time.perf_counter()
            result = work()
            connection.send((time.perf_counter() - started, peak_bytes(), result))
    except EOFError:
        return
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
