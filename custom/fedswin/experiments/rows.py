"""The CSV of an experiment: a row for each run that is finished, and everything that is told of it comes from there.

Columns are the axes of the grid, the run's measures, ``dice in CLASS``, ``dice at SITE`` and ``dice of SITE/CASE``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedswin.durable import written_whole
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import AXES, Cell

_CLASS, _SITE, _CASE = "dice in ", "dice at ", "dice of "


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
        about: what it ran on and with: ``data``, ``code``, ``torch``, ``machine``, ``finished``.
    """

    key: str
    cell: Cell
    measures: Mapping[str, float]
    classes: Mapping[str, float]
    sites: Mapping[str, float]
    cases: Mapping[str, float]
    about: Mapping[str, str]


MEASURES = (
    "dice",
    "hd95",
    "nsd",
    "missed",
    "pretraining_steps",
    "pretraining_samples",
    "pretraining_megabytes_per_round",
    "finetuning_steps",
    "finetuning_samples",
    "finetuning_megabytes_per_round",
    "seconds",
)
ABOUT = ("data", "code", "torch", "machine", "finished")


def csv_of(folder: Path, plan: str) -> Path:
    """Return where the rows of a plan are, by its name."""
    return folder / f"{plan}.csv"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the CSV, all or nothing.

    Raises:
        OSError: if it cannot be written.
    """
    named = [_named(row) for row in rows]
    classes_and_sites = dict.fromkeys(name for of_row in named for name in of_row if not name.startswith(_CASE))
    cases = sorted({name for of_row in named for name in of_row if name.startswith(_CASE)})
    text = io.StringIO()
    columns = ["key", *AXES, *MEASURES, *sorted(classes_and_sites, key=_is_site), *cases, *ABOUT]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_as_text(row) for row in rows)
    with written_whole(path) as file:
        file.write(text.getvalue().encode())


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


def _as_text(row: Row) -> dict[str, Any]:
    numbers = {name: f"{value:.6g}" for name, value in {**row.measures, **_named(row)}.items()}
    return {"key": row.key, **vars(row.cell), **numbers, **row.about}


def _named(row: Row) -> dict[str, float]:
    """Return the Dice of classes, sites and cases by column."""
    groups = ((_CLASS, row.classes), (_SITE, row.sites), (_CASE, row.cases))
    return {prefix + name: value for prefix, values in groups for name, value in values.items()}


def _is_site(column: str) -> bool:
    return column.startswith(_SITE)


def _as_row(line: Mapping[str, str]) -> Row:
    values = {axis: line[axis] for axis in AXES}
    cell = Cell(**{**values, **{axis: _number(values[axis]) for axis in ("labels", "cases", "seed")}})  # type: ignore[arg-type]
    return Row(
        line["key"],
        cell,
        {name: float(line[name]) for name in MEASURES if line[name]},
        _numbers(line, _CLASS),
        _numbers(line, _SITE),
        _numbers(line, _CASE),
        {name: line[name] for name in ABOUT},
    )


def _numbers(line: Mapping[str, str], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): float(text) for name, text in line.items() if name.startswith(prefix) and text}


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
