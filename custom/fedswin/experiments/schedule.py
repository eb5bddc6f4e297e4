"""The order of an experiment's runs: an encoder before what starts from it, a few at a time, each in a process."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import active_children, get_context
from pathlib import Path
from time import monotonic

from rich.console import Console

from fedswin.errors import FedSwinError
from fedswin.experiments.cells import Cell, key_of, pretraining_key
from fedswin.experiments.dealing import TaskSites, write_deal
from fedswin.experiments.kept_patients import refuse_leak
from fedswin.experiments.plan import Plan
from fedswin.experiments.rows import Row
from fedswin.experiments.work import finetune, pretrain
from fedswin.operations.study_table import duration
from fedswin.process_watch import end_with_parent

PRETRAINING = "pretraining"
"""The folder of the encoders, in that of all runs."""
_DEALS, _FINETUNING = "deals", "finetuning"


class Schedule:
    """What is running and what comes next: an encoder before the cells that start from it.

    Args:
        plan: the plan.
        folder: where the run folders are.
        sites: of each task.
        gpus: that the sites of a run share.
        keep: is called with each finished row.
        console: where to show how far it is.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        sites: Mapping[str, TaskSites],
        gpus: Sequence[int],
        keep: Callable[[Row], None],
        console: Console,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._sites = sites
        self._gpus = gpus
        self._keep = keep
        self._console = console
        self._trained: set[Path] = set()
        self._running: dict[Future[Row | None], Cell] = {}

    def run(self, cells: Sequence[Cell], workers: int) -> None:
        """Run ``cells``, ``workers`` at a time; one that fails keeps none of the others from being run.

        Raises:
            FedSwinError: at once, if the cases cannot be dealt as the plan says, or a process was killed; at the end,
                if a run has failed.
        """
        for cell in cells:
            self._deal(cell)
        with self._pool(workers) as pool, self._console.status("") as status:
            try:
                failed = self._run(pool, list(cells), workers, status.update)
            except BrokenProcessPool:
                raise FedSwinError(
                    "A process was killed, perhaps for want of memory. Start again, if need be with fewer --workers."
                ) from None
            except BaseException:
                for process in active_children():
                    process.kill()  # or leaving the pool would wait until what it is at has come to its end
                raise
        if failed:
            raise FedSwinError(f"Runs that failed: {len(failed)}. The first was {failed[0]}\nStart again to go on.")

    def _run(
        self, pool: ProcessPoolExecutor, waiting: list[Cell], workers: int, show: Callable[[str], None]
    ) -> list[str]:
        """Run all that is waiting, and return what has failed."""
        failed, started = [], monotonic()
        while waiting or self._running:
            while len(self._running) < workers and (cell := self._next(waiting)):
                self._start(pool, cell, waiting)
            show("; ".join(map(str, self._running.values())))
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                cell = self._running.pop(future)
                try:
                    line = self._finish(cell, future.result())
                except BrokenProcessPool:
                    raise
                except Exception as error:  # such as of torch, for want of memory: the other runs go on
                    line = f"{cell}: {error if isinstance(error, FedSwinError) else repr(error)}"
                    failed.append(line)
                    if not self._has_encoder(cell):
                        waiting[:] = [other for other in waiting if self._encoder(other) != self._encoder(cell)]
                left = len(waiting) + sum(self._has_encoder(other) for other in self._running.values())
                self._console.print(f"{line}; {duration(monotonic() - started)} so far, {left} to do", markup=False)
        return failed

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        started_with = (os.getpid(), self._gpus)
        return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=started_with)

    def _next(self, waiting: Sequence[Cell]) -> Cell | None:
        """Return a cell whose encoder is there, or else one whose encoder nobody trains yet."""
        busy = {self._encoder(cell) for cell in self._running.values() if not self._has_encoder(cell)}
        able = [cell for cell in waiting if self._has_encoder(cell)]
        others = [cell for cell in waiting if self._encoder(cell) not in busy]
        return next(iter([*able, *others]), None)

    def _start(self, pool: ProcessPoolExecutor, cell: Cell, waiting: list[Cell]) -> None:
        deal, encoder = self._deal(cell), self._encoder(cell)
        if not self._has_encoder(cell):
            future: Future[Row | None] = pool.submit(
                pretrain, self._plan, cell, deal / "pretraining", encoder, self._gpus
            )
        else:
            waiting.remove(cell)
            start, out = None if cell.starts_from_scratch else encoder, self._folder / _FINETUNING / self._name(cell)
            future = pool.submit(finetune, self._plan, cell, deal / "finetuning", start, out, self._gpus)
        self._running[future] = cell

    def _finish(self, cell: Cell, row: Row | None) -> str:
        """Keep what a run has come to, and say so in a line."""
        if row is None:
            self._trained.add(self._encoder(cell))
            return f"encoder of {cell}"
        data = self._sites[cell.task].digest
        self._keep(replace(row, about={**row.about, "data": data}))
        return f"{cell}: Dice {row.measures['dice']:.3f}"

    def _has_encoder(self, cell: Cell) -> bool:
        return cell.starts_from_scratch or self._encoder(cell) in self._trained

    def _encoder(self, cell: Cell) -> Path:
        return self._folder / PRETRAINING / f"{self._sites[cell.task].source}-{pretraining_key(self._plan, cell)}"

    def _name(self, cell: Cell) -> str:
        return f"{self._sites[cell.task].digest}-{key_of(self._plan, cell)}"

    def _deal(self, cell: Cell) -> Path:
        """Return the folder of the cell's own site folders, written if it is not there, and checked each time."""
        deal, sites = self._folder / _DEALS / self._name(cell), self._sites[cell.task]
        if not deal.exists():
            write_deal(self._plan, cell, sites.pretraining[cell.shard], sites.finetuning[cell.shard], deal)
        refuse_leak(self._plan, cell.task, deal / "pretraining", deal / "finetuning")
        return deal


def _begin(parent: int, gpus: Sequence[int]) -> None:
    """Prepare a process that runs one cell after another: silent, and gone when the experiment is.

    It sees the GPUs of the experiment alone, none if there are none, as the sites of a simulation do: all arms run on
    the same devices.
    """
    end_with_parent(parent)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
