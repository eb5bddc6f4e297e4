"""An evaluation in the report: its scores, and the number of cases, but no case's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedswin.errors import FedSwinError
from fedswin.operations.evaluate import CaseScore, matrix, write_evaluation
from fedswin.report.evaluation import read_evaluation
from fedswin.report.summary import verdict
from fedswin.report.tables import evaluation_tables


def scored(model: str, site: str, dice: float, case: str = "secret.nii.gz") -> CaseScore:
    scores = {"dice": dice, "dice_liver": dice, "hd95": 10 * dice, "missed": 0, "spurious": 0}
    return CaseScore(model, site, case, scores, {"liver": 1.5})


RESULTS = [
    scored(model, site, dice + better, f"secret{number}.nii.gz")
    for model, better in (("together", 0.1), ("alone", 0.0))
    for number, (site, dice) in enumerate([("a", 0.5), ("a", 0.7), ("b", 0.8)])
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_evaluation(RESULTS, tmp_path / "evaluation", split="test")
    return tmp_path / "evaluation"


def test_an_evaluation_is_read_as_it_was_written(folder: Path) -> None:
    found = read_evaluation(folder)
    assert found.models == matrix(RESULTS)
    assert found.cases == {"a": 2, "b": 1, "all": 3}
    assert (found.split, found.tolerances) == ("test", {1.5})


def test_the_tables_mark_the_best_of_each_column(folder: Path) -> None:
    dice, hd95, classes = evaluation_tables(read_evaluation(folder))
    heads = [head.replace("\u00a0", " ") for head in dice.columns]
    assert heads == ["model", "a (n = 2)", "b (n = 1)", "all cases (n = 3)"]
    assert dice.rows == [["together", "0.700", "0.900", "0.767"], ["alone", "0.600", "0.800", "0.667"]]
    assert dice.best == {(0, 1), (0, 2), (0, 3)}
    assert hd95.best == {(1, 1), (1, 2), (1, 3)}
    assert classes.rows == [["together", "0.767"], ["alone", "0.667"]]


def test_hd_is_shown_where_an_evaluation_has_it(tmp_path: Path) -> None:
    results = [replace(result, scores={**result.scores, "hd": 20 * (result.scores["dice"] or 0)}) for result in RESULTS]
    write_evaluation(results, tmp_path / "evaluation", split="test")
    _, hd, hd95, _ = evaluation_tables(read_evaluation(tmp_path / "evaluation"))
    assert (hd.caption, hd95.caption) == ("HD in mm; less is better", "HD95 in mm; less is better")
    assert [row[-1] for row in hd.rows] == ["15.3", "13.3"]
    assert hd.best == {(1, 1), (1, 2), (1, 3)}


def test_the_best_model_and_the_next_are_named(folder: Path) -> None:
    said = verdict(read_evaluation(folder))
    few = "So few cases do not tell which model is better."
    assert said == f"Over 3 cases, together has the highest Dice, 0.767. The next is alone, 0.667. {few}"


def test_many_cases_are_not_called_few(tmp_path: Path) -> None:
    results = [scored(model, "a", dice, f"{n}") for model, dice in (("x", 0.6), ("y", 0.5)) for n in range(20)]
    write_evaluation(results, tmp_path / "e", split="test")
    assert (
        verdict(read_evaluation(tmp_path / "e"))
        == "Over 20 cases, x has the highest Dice, 0.600. The next is y, 0.500."
    )


def test_models_that_read_alike_are_all_the_best(tmp_path: Path) -> None:
    results = [scored("x", "a", 0.50001), scored("y", "a", 0.50002), scored("z", "a", 0.4)]
    write_evaluation(results, tmp_path / "e", split="validation")
    dice = evaluation_tables(read_evaluation(tmp_path / "e"))[0]
    assert dice.best == {(0, 1), (1, 1), (0, 2), (1, 2)}
    assert verdict(read_evaluation(tmp_path / "e")).startswith(
        "Over 1 case, y and x have the highest Dice, 0.500. The next is z, 0.400."
    )


def test_a_folder_that_is_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="is no evaluation"):
        read_evaluation(tmp_path)
