"""All runs of a plan: what is missing is run, a few at a time, and every finished row is on the disk at once."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from time import monotonic

from rich.console import Console

from fedswin.errors import FedSwinError, nearest
from fedswin.experiments.cells import AXES, Cell, cells_of, grid_of, key_of, pretraining_key
from fedswin.experiments.dealing import ready_sites, write_deal
from fedswin.experiments.plan import Plan
from fedswin.experiments.plot import require_plots
from fedswin.experiments.rows import Row, csv_of, holds_rows, read_rows, require_one_source, rows_of, write_rows
from fedswin.experiments.work import finetune, pretrain
from fedswin.operations.study_table import duration
from fedswin.process_watch import end_with_parent
from fedswin.run_lock import lock_run

RUNS = "runs"
"""The folder of all run folders, beside the CSVs."""
_SITES, _DEALS, _PRETRAINING, _FINETUNING = "sites", "deals", "pretraining", "finetuning"
_DIGITS = 8  # of the digest of a scenario


def chosen_cells(plan: Plan, only: Sequence[str]) -> list[Cell]:
    """Return the cells of the plan that ``only`` asks for.

    Args:
        plan: the plan.
        only: ``axis=value`` each; values of one axis are alternatives, and each axis that is named must fit.

    Raises:
        FedSwinError: if an axis is unknown, or no cell is left.
    """
    wanted: dict[str, list[str]] = {}
    for text in only:
        axis, _, value = text.partition("=")
        if axis not in AXES:
            axes = ", ".join(AXES)
            raise FedSwinError(f"--only {text}: expected axis=value{nearest(axis, AXES)}. The axes are {axes}.")
        known = list(dict.fromkeys(str(getattr(cell, axis)) for cell in cells_of(plan)))
        if value not in known:
            raise FedSwinError(f"--only {text}: the plan has no such {axis}. It has {', '.join(filter(None, known))}.")
        wanted.setdefault(axis, []).append(value)
    cells = [
        cell for cell in cells_of(plan) if all(str(getattr(cell, axis)) in values for axis, values in wanted.items())
    ]
    if not cells:
        raise FedSwinError(f"{plan.path}: no run of the plan has {' and '.join(only)}.")
    return cells


def run_experiment(
    plan: Plan,
    out: Path,
    *,
    cells: Sequence[Cell] | None = None,
    workers: int = 1,
    gpus: Sequence[int] = (),
    console: Console,
) -> list[Row]:
    """Run what is missing of ``cells``, and return all rows of the plan that there are.

    A row that the CSV of another plan in ``out`` has is taken from there. A run that was cut off is gone on with. An
    encoder that several cells start from is trained once.

    Args:
        plan: the plan.
        out: the folder of the CSVs; the run folders are below ``out/runs``.
        cells: which cells of the plan; all by default.
        workers: how many runs at the same time, each in a process of its own.
        gpus: numbers of the GPUs that the sites of a run share; without one everything runs on the CPU.
        console: where to show how far it is.

    Raises:
        FedSwinError: if matplotlib is not installed, something about the plan or its data is wrong, rows are of no run
            of the plan or were made on other data, another process is at work in ``out``, or a run fails.
    """
    require_plots()
    _refuse_strangers(csv_of(out, plan.name))
    with lock_run(out / RUNS, after="start it again"):
        grid = grid_of(plan)
        rows = _known_rows(plan, out, grid)
        wanted = [cell for cell in cells or grid.values() if key_of(plan, cell) not in rows]
        console.print(f"{plan.name}: {len(rows)} of {len(grid)} runs are there, {len(wanted)} to do", markup=False)

        def keep(*new: Row) -> None:
            rows.update({row.key: row for row in new})
            write_rows(csv_of(out, plan.name), [rows[key] for key in grid if key in rows])

        if wanted:
            tasks = dict.fromkeys(cell.task for cell in wanted)
            sites = {task: _ready(plan, task, out / RUNS / _SITES, console) for task in tasks}
            _refuse_other_data(plan, out, rows.values(), sites)
            _Work(plan, out / RUNS, sites, gpus, keep, console).run(wanted, workers)
        elif rows:
            keep()
    return [rows[key] for key in grid if key in rows]


def _refuse_strangers(rows: Path) -> None:
    """Raise if a table or a plot would replace a file that no experiment has written."""
    for path in (rows.with_suffix(".md"), rows.with_suffix(".svg")):
        if path.exists() and not rows.exists():
            raise FedSwinError(f"{path} is there without {rows.name}, and would be replaced. Choose another --out.")


def _known_rows(plan: Plan, out: Path, grid: Mapping[str, Cell]) -> dict[str, Row]:
    """Return the rows that are there: the plan's own, and of other plans those of the same runs."""
    own = rows_of(plan, out)
    others = [row for path in sorted(out.glob("*.csv")) if holds_rows(path) for row in read_rows(path)]
    found = {row.key: row for row in (*others, *own)}
    rows = {key: replace(found[key], cell=cell) for key, cell in grid.items() if key in found}
    require_one_source(out, rows.values())
    return rows


@dataclass(frozen=True)
class _Sites:
    """The sites of a task, as they are before a cell's cases are dealt.

    Attributes:
        pretraining: for each shard, the folder of the sites that pre-train.
        finetuning: for each shard, the folder of the sites that are fine-tuned at; the same one, or the task's own.
        source: the digest of the scenario that has made the former.
        digest: the same for both. Folders are named after it, lest one is gone on with after the data have changed.
    """

    pretraining: Mapping[str, Path]
    finetuning: Mapping[str, Path]
    source: str
    digest: str


def _ready(plan: Plan, task: str, folder: Path, console: Console) -> _Sites:
    shared, own = plan.scenario(), plan.scenario(task)
    source = shared.digest[:_DIGITS]
    sites = {
        name: ready_sites(shared, dealing, folder, console=console) for name, dealing in plan.settings.shards.items()
    }
    if plan.shares_data(task):
        return _Sites(sites, sites, source, source)
    made = ready_sites(own, None, folder, console=console)
    return _Sites(sites, dict.fromkeys(sites, made), source, f"{source}+{own.digest[:_DIGITS]}")


def _refuse_other_data(plan: Plan, out: Path, rows: Iterable[Row], sites: Mapping[str, _Sites]) -> None:
    for row in rows:
        now = sites[row.cell.task].digest if row.cell.task in sites else None
        if now and row.about["data"] != now:
            raise FedSwinError(
                f"{csv_of(out, plan.name)}: its rows were made on the data {row.about['data']}, and {plan.path} has "
                f"{now} now: files were added, taken away or changed. Choose another --out, or bring the data back."
            )


class _Work:
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
        sites: Mapping[str, _Sites],
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
        with (
            self._pool(workers) as pool,
            self._console.status("") as status,
        ):
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
                except FedSwinError as error:
                    line = f"{cell}: {error}"
                    failed.append(line)
                    if not self._has_encoder(cell):
                        waiting[:] = [other for other in waiting if self._encoder(other) != self._encoder(cell)]
                left = len(waiting) + sum(self._has_encoder(other) for other in self._running.values())
                self._console.print(f"{line}; {duration(monotonic() - started)} so far, {left} to do", markup=False)
        return failed

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        started_with = (os.getpid(), bool(self._gpus))
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
        return self._folder / _PRETRAINING / f"{self._sites[cell.task].source}-{pretraining_key(self._plan, cell)}"

    def _name(self, cell: Cell) -> str:
        return f"{self._sites[cell.task].digest}-{key_of(self._plan, cell)}"

    def _deal(self, cell: Cell) -> Path:
        """Return the folder of the cell's own site folders, written if it is not there."""
        deal, sites = self._folder / _DEALS / self._name(cell), self._sites[cell.task]
        if not deal.exists():
            write_deal(self._plan, cell, sites.pretraining[cell.shard], sites.finetuning[cell.shard], deal)
        return deal


def _begin(parent: int, has_gpus: bool) -> None:
    """Prepare a process that runs one cell after another: silent, and gone when the experiment is.

    Without GPUs of the experiment it sees none, as the sites of a simulation do: all arms run on the same device.
    """
    end_with_parent(parent)
    if not has_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
