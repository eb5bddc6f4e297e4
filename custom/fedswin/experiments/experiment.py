"""All runs of a plan: what is missing is run, and every finished row is on the disk at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fedswin.errors import FedSwinError, nearest
from fedswin.experiments.cells import AXES, Cell, cells_of, grid_of
from fedswin.experiments.counts import Count, count_runs
from fedswin.experiments.dealing import TaskSites, ready_task
from fedswin.experiments.plan import Plan
from fedswin.experiments.plot import require_plots
from fedswin.experiments.rows import Row, csv_of, holds_rows, read_rows, require_one_source, rows_of, write_rows
from fedswin.experiments.schedule import PRETRAINING, Schedule
from fedswin.run_lock import lock_run

RUNS = "runs"
"""The folder of all run folders, beside the CSVs."""
_SITES = "sites"


def chosen_cells(plan: Plan, only: Sequence[str]) -> list[Cell]:
    """Return the cells of the plan that ``only`` asks for.

    Args:
        plan: the plan.
        only: ``axis=value`` each; values of one axis are alternatives, and each axis that is named must fit.

    Raises:
        FedSwinError: if an axis is unknown, or no cell is left.
    """
    every, wanted = cells_of(plan), defaultdict[str, list[str]](list)
    for text in only:
        axis, _, value = text.partition("=")
        if axis not in AXES:
            axes = ", ".join(AXES)
            raise FedSwinError(f"--only {text}: expected axis=value{nearest(axis, AXES)}. The axes are {axes}.")
        known = list(dict.fromkeys(cell.text(axis) for cell in every))
        if value not in known:
            raise FedSwinError(f"--only {text}: the plan has no such {axis}. It has {', '.join(filter(None, known))}.")
        wanted[axis].append(value)
    cells = [cell for cell in every if all(cell.text(axis) in values for axis, values in wanted.items())]
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
        wanted = [cell for key, cell in grid.items() if key not in rows and (cells is None or cell in cells)]
        console.print(f"{plan.name}: {len(rows)} of {len(grid)} runs are there, {len(wanted)} to do", markup=False)

        def keep(*new: Row) -> None:
            rows.update({row.key: row for row in new})
            write_rows(csv_of(out, plan.name), [rows[key] for key in grid if key in rows])

        if wanted:
            tasks = dict.fromkeys(cell.task for cell in wanted)
            sites = {task: ready_task(plan, task, out / RUNS / _SITES, console=console) for task in tasks}
            _refuse_other_data(plan, out, rows.values(), sites)
            Schedule(plan, out / RUNS, sites, gpus, keep, console).run(wanted, workers)
        elif rows:
            keep()
    return [rows[key] for key in grid if key in rows]


def count_experiment(plan: Plan, out: Path, cells: Sequence[Cell]) -> list[Count]:
    """Count the runs of ``cells`` by kind, and which of them `run_experiment` would make in ``out``.

    Raises:
        FedSwinError: as `rows_of`.
    """
    return count_runs(plan, cells, _known_rows(plan, out, grid_of(plan)), out / RUNS / PRETRAINING)


def _refuse_strangers(rows: Path) -> None:
    """Raise if a table or a plot would replace a file that no experiment has written."""
    for path in (rows.with_suffix(".md"), rows.with_suffix(".svg")):
        if path.exists() and not rows.exists():
            raise FedSwinError(f"{path} is there without {rows.name}, and would be replaced. Choose another --out.")


def _known_rows(plan: Plan, out: Path, grid: Mapping[str, Cell]) -> dict[str, Row]:
    """Return the rows that are there: the plan's own, and of other plans those of the same runs."""
    paths = sorted(set(out.glob("*.csv")) - {csv_of(out, plan.name)})
    others = [row for path in paths if holds_rows(path) for row in read_rows(path)]
    found = {row.key: row for row in (*others, *rows_of(plan, out))}
    rows = {key: replace(found[key], cell=cell) for key, cell in grid.items() if key in found}
    require_one_source(out, rows.values())
    return rows


def _refuse_other_data(plan: Plan, out: Path, rows: Iterable[Row], sites: Mapping[str, TaskSites]) -> None:
    for row in rows:
        now = sites[row.cell.task].digest if row.cell.task in sites else None
        if now and row.about["data"] != now:
            raise FedSwinError(
                f"{csv_of(out, plan.name)}: its rows were made on the data {row.about['data']}, and {plan.path} has "
                f"{now} now: files were added, taken away or changed. Choose another --out, or bring the data back."
            )
