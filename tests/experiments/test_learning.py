"""Whether an encoder has learned: from its run, from the plan, and what keeps conclusions from being drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.studies import CELL, row, write_plan
from fedswin.experiments.learning import read_learning, remark_on, with_later_verdicts

TOLD = {
    "verdict": "learns",
    "rotation_accuracy": 0.5,
    "rotation_accuracy_bound": 0.375,
    "patients": 9,
    "contrastive_share": 0.25,
    "feature_spread": 0.125,
    "feature_rank": 12.5,
    "round": 8,
}


def write(run: Path, learning: Any) -> Path:
    run.mkdir(exist_ok=True)
    (run / "provenance.json").write_text(json.dumps({"command": "train", "learning": learning}))
    return run


def test_the_verdict_is_on_the_last_model_from_which_fine_tuning_starts(tmp_path: Path) -> None:
    verdict, figures = read_learning(write(tmp_path, {"best": {"verdict": "collapsed"}, "last": TOLD}))
    assert verdict == "learns"
    assert figures == {f"encoder_{name}": value for name, value in TOLD.items() if name != "verdict"}


@pytest.mark.parametrize(
    "learning",
    [None, [], "learns", {}, {"best": TOLD}, {"last": None}, {"last": {}}, {"last": {"verdict": "learns well"}}],
)
def test_without_a_verdict_it_is_not_known(tmp_path: Path, learning: Any) -> None:
    assert read_learning(write(tmp_path, learning)) == ("not known", {})
    assert read_learning(tmp_path / "nowhere") == ("not known", {})


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    told = {**TOLD, "feature_rank": "high", "patients": True, "feature_spread": float("nan"), "round": float("inf")}
    _, figures = read_learning(write(tmp_path, {"last": told}))
    assert figures.keys() == {
        "encoder_rotation_accuracy",
        "encoder_rotation_accuracy_bound",
        "encoder_contrastive_share",
    }


@pytest.mark.parametrize(
    ("verdicts", "remark"),
    [
        (["learns", "learns"], ""),
        (["at chance", "at chance"], "encoder at chance"),
        (["learns", "at chance"], "encoder at chance in 1 of 2 runs"),
        (["collapsed", "collapsed"], "encoder collapsed"),
        (["collapsed", "at chance", ""], "encoder at chance in 2 of 3 runs"),
        (["learns", ""], "learning not recorded"),
        (["learns", "not known"], "learning not known"),
    ],
)
def test_one_encoder_that_is_not_known_to_have_learned_is_remarked_on(verdicts: list[str], remark: str) -> None:
    assert remark_on(verdicts) == remark


def test_what_a_plan_says_later_holds_for_rows_that_say_nothing_and_have_an_encoder(tmp_path: Path) -> None:
    arm = replace(CELL, arm="federated")
    rows = [row(CELL, {"a/1": 0.5}), row(arm, {"a/1": 0.5}), row(arm, {"a/1": 0.5}, encoder="learns")]
    plan = write_plan(tmp_path, encoders="at_chance")
    assert [r.about["encoder"] for r in with_later_verdicts(plan, rows)] == ["", "at chance", "learns"]
    assert with_later_verdicts(write_plan(tmp_path), rows) == rows
