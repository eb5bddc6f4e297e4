"""The CSV of an experiment: a row for each run that is finished, and everything that is told of it comes from there.

Columns are the axes of the grid, the run's measures, ``dice in CLASS``, ``dice at SITE``, ``dice of SITE/CASE``, and so
``hd95 of`` and ``nsd of``. CSVs of before have fewer columns, and are read as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedswin.durable import write_text_whole
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import AXES, Cell, grid_of
from fedswin.experiments.learning import ENCODER_FIGURES
from fedswin.experiments.plan import Plan

_CLASS, _SITE, _CASE, _HD95, _NSD = "dice in ", "dice at ", "dice of ", "hd95 of ", "nsd of "
_OF_CASES = (_CASE, _HD95, _NSD)
_FIRST_AXES = 8  # those of the first CSVs, by which one is known


@dataclass(frozen=True)
class Row:
    """A finished run.

    Attributes:
        key: the hash of its configuration.
        cell: its place in the grid.
        measures: numbers by name, as `fedswin.experiments.work` makes them; a name may be missing.
        classes: the Dice of each class, the mean over the test cases; of one class it is that of the run, and left out.
        sites: the Dice at each site, the mean over its test cases.
        cases: the Dice of each test case, named ``<site>/<case>``.
        about: what it ran on and with: ``alone`` (the site that pre-trained by itself), ``encoder`` (whether the
            encoder had learned, see `fedswin.experiments.learning`), ``data``, ``code``, ``torch``, ``machine``,
            ``finished``.
        hd95: the HD95 of each test case, in mm.
        nsd: the NSD of each test case.
    """

    key: str
    cell: Cell
    measures: Mapping[str, float]
    classes: Mapping[str, float]
    sites: Mapping[str, float]
    cases: Mapping[str, float]
    about: Mapping[str, str]
    hd95: Mapping[str, float] = field(default_factory=dict)
    nsd: Mapping[str, float] = field(default_factory=dict)


MEASURES = (
    "dice",
    "dice_area",
    "hd",
    "hd95",
    "nsd",
    "missed",
    "worst_site_dice",
    *ENCODER_FIGURES,
    "pretraining_cases",
    "pretraining_steps",
    "pretraining_samples",
    "pretraining_megabytes_per_round",
    "finetuning_cases",
    "finetuning_steps",
    "finetuning_samples",
    "finetuning_megabytes_per_round",
)
ABOUT = ("alone", "encoder", "data", "code", "torch", "machine", "finished")


def csv_of(folder: Path, plan: str) -> Path:
    """Return where the rows of a plan are, by its name."""
    return folder / f"{plan}.csv"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the CSV, all or nothing.

    Raises:
        OSError: if it cannot be written.
    """
    named = [_named(row) for row in rows]
    classes_and_sites = dict.fromkeys(name for of_row in named for name in of_row if not name.startswith(_OF_CASES))
    cases = [
        name for kind in _OF_CASES for name in sorted({n for of_row in named for n in of_row if n.startswith(kind)})
    ]
    text = io.StringIO()
    columns = ["key", *AXES, *MEASURES, *sorted(classes_and_sites, key=_is_site), *cases, *ABOUT]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_as_text(row) for row in rows)
    write_text_whole(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Read the CSV; there are no rows if there is no file.

    Raises:
        FedSwinError: if it is none that `write_rows` has written.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            return [_as_row(line) for line in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError) as error:
        raise FedSwinError(
            f"{path} is not the CSV of an experiment ({error!r}). Take it away, or restore it."
        ) from None


def holds_rows(path: Path) -> bool:
    """Tell whether a CSV has the first columns that `write_rows` gives it."""
    with path.open(newline="") as file:
        return file.readline().startswith(",".join(["key", *AXES[:_FIRST_AXES]]))


def rows_of(plan: Plan, folder: Path) -> list[Row]:
    """Return the rows of the plan's own CSV, in the order of its grid.

    Raises:
        FedSwinError: if it has a row that the plan, as it is now, does not make, or two that were made on other data.
    """
    path, grid = csv_of(folder, plan.name), grid_of(plan)
    rows = {row.key: row for row in read_rows(path)}
    if strange := rows.keys() - grid.keys():
        raise FedSwinError(
            f"{path}: {len(strange)} rows, such as {min(strange)}, are of no run of {plan.path}: it or a job has "
            "changed since. Bring them back as they were, or take the CSV away to start anew."
        )
    require_one_source(path, rows.values())
    return [rows[key] for key in grid if key in rows]


def require_one_source(path: Path, rows: Iterable[Row]) -> None:
    """Make sure that the rows of a task were made on the same data; ``path`` says where they are.

    Raises:
        FedSwinError: if they were not.
    """
    of_task: dict[str, str] = {}
    for row in rows:
        data = of_task.setdefault(row.cell.task, row.about["data"])
        if data != row.about["data"]:
            raise FedSwinError(
                f"{path}: rows of the task '{row.cell.task}' were made on the data {data} and {row.about['data']}. "
                "Keep the CSVs of different data in different folders."
            )


def _as_text(row: Row) -> dict[str, Any]:
    numbers = {name: _digits(value) for name, value in {**row.measures, **_named(row)}.items()}
    return {"key": row.key, **{axis: row.cell.text(axis) for axis in AXES}, **numbers, **row.about}


def _digits(value: float) -> str:
    """Return a count as it is, and anything else to six digits."""
    return str(int(value)) if value == int(value) else f"{value:.6g}"


def _named(row: Row) -> dict[str, float]:
    """Return the scores of classes, sites and cases by column."""
    groups = ((_CLASS, row.classes), (_SITE, row.sites), (_CASE, row.cases), (_HD95, row.hd95), (_NSD, row.nsd))
    return {prefix + name: value for prefix, values in groups for name, value in values.items()}


def _is_site(column: str) -> bool:
    return column.startswith(_SITE)


def _as_row(line: Mapping[str, str]) -> Row:
    return Row(
        line["key"],
        _cell(line),
        {name: float(line[name]) for name in MEASURES if line.get(name)},
        _numbers(line, _CLASS),
        _numbers(line, _SITE),
        _numbers(line, _CASE),
        {name: line.get(name, "") for name in ABOUT},
        _numbers(line, _HD95),
        _numbers(line, _NSD),
    )


def _cell(line: Mapping[str, str]) -> Cell:
    """Return the place of a row; where it has no seed of its encoder, that was the one seed there was."""
    values: dict[str, Any] = {axis: line[axis] for axis in AXES[:_FIRST_AXES]}
    values |= {axis: _number(values[axis]) for axis in ("labels", "cases", "seed")}
    coupled = "" if values["arm"] == "scratch" else line["seed"]
    encoder, frozen = line.get("encoder_seed", coupled), line.get("frozen", "false")
    return Cell(**values, encoder_seed=_number(encoder), frozen={"false": False, "true": True}[frozen])


def _numbers(line: Mapping[str, str], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): float(text) for name, text in line.items() if name.startswith(prefix) and text}


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
