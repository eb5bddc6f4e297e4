"""Running folds: which, where, and what is refused before the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from end_to_end import tiny
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.operations.folds import parse_folds, run_folds

JOB = tiny.job(tiny.PRETRAIN)


@pytest.mark.parametrize(
    ("text", "folds"), [("0-4", [0, 1, 2, 3, 4]), ("2", [2]), ("3,0", [0, 3]), ("0-1,1-2", [0, 1, 2])]
)
def test_folds_are_numbers_and_ranges(text: str, folds: list[int]) -> None:
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["", "a", "4-0", "-1", "0-", "1..3", "all"])
def test_what_names_no_folds_is_refused(text: str) -> None:
    with pytest.raises(FedSwinError, match="--folds"):
        parse_folds(text)


def test_each_fold_has_its_own_folder_and_setting(tmp_path: Path) -> None:
    ran: list[tuple[int | None, str]] = []

    def run(job: Job, folder: Path) -> None:
        ran.append((job.data.fold, folder.name))

    run_folds(JOB, [0, 3], tmp_path, overwrite=False, run=run)
    assert ran == [(0, "fold0"), (3, "fold3")]


def test_a_fold_that_is_there_or_cannot_be_stops_all_before_the_first(tmp_path: Path) -> None:
    def run(job: Job, folder: Path) -> None:
        pytest.fail("nothing must run")

    (tmp_path / "fold1").mkdir()
    with pytest.raises(FedSwinError, match="fold1 exists"):
        run_folds(JOB, [0, 1], tmp_path, overwrite=False, run=run)
    with pytest.raises(FedSwinError, match="5 is asked for, but there are 5"):
        run_folds(JOB, [0, 5], tmp_path / "new", overwrite=False, run=run)
