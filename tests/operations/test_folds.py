"""Running folds: which, where, and what is refused before the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.operations.folds import is_resumed, parse_folds, plan_runs

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
    runs = plan_runs(JOB, "0,3", tmp_path, overwrite=False)
    assert [(folder.name, job.data.fold) for folder, job in runs.items()] == [("fold0", 0), ("fold3", 3)]


def test_without_folds_the_job_itself_goes_to_the_folder_itself(tmp_path: Path) -> None:
    assert plan_runs(JOB, None, tmp_path / "run", overwrite=False) == {tmp_path / "run": JOB}


def test_a_run_that_is_there_or_a_fold_that_cannot_be_stops_all_before_the_first(tmp_path: Path) -> None:
    (tmp_path / "fold1").mkdir()
    with pytest.raises(FedSwinError, match="fold1 exists"):
        plan_runs(JOB, None, tmp_path / "fold1", overwrite=False)
    with pytest.raises(FedSwinError, match="fold1 exists"):
        plan_runs(JOB, "0-1", tmp_path, overwrite=False)
    with pytest.raises(FedSwinError, match="5 is asked for, but there are 5"):
        plan_runs(JOB, "0,5", tmp_path / "new", overwrite=False)


def test_folds_that_had_not_begun_start_when_the_others_are_resumed(tmp_path: Path) -> None:
    (tmp_path / "fold0").mkdir()
    assert [is_resumed(run, "0-1", resume=True) for run in plan_runs(JOB, "0-1", tmp_path, overwrite=True)] == [
        True,
        False,
    ]
    assert is_resumed(tmp_path / "none", None, resume=True)
    assert not is_resumed(tmp_path / "fold0", "0", resume=False)
