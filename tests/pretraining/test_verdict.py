"""Whether a pre-training learns: the bound, the rule, the line, and when a person is warned."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from end_to_end import tiny
from fedswin.pretraining.verdict import (
    PAGE,
    Learning,
    Verdict,
    is_plausible,
    judge,
    judge_record,
    judge_site,
    lower_bound,
    read_learning,
    views_of,
    warning,
    warning_text,
)
from fedswin.records import Record, round_record
from fedswin.training.scores import Sample
from learning import AT_CHANCE, COLLAPSED, GOOD, learning_record

JOB = tiny.job(
    {
        **tiny.PRETRAIN,
        "pretraining": {"reconstruction_head": "deconv5", "validation_batches": 12},
        "trainer": {"batch_size": 4},
        "federation": {"rounds": 8, "local_steps": 2000},
    }
)
LINE = "rotation 0.71 (chance 0.25), contrastive 0.62 of chance, features spread 0.11, rank 37 of 96"


@given(st.lists(st.integers(0, 20), min_size=2, max_size=30))
def test_the_bound_is_that_of_the_t_interval_over_patients_or_of_independent_views(right: list[int]) -> None:
    shares = [count / 20 for count in right]
    found = lower_bound(Sample(len(shares), mean(shares), stdev(shares)), 20 * len(shares))
    over_patients = stdev(shares) / math.sqrt(len(shares))
    share = max(mean(shares) * (1 - mean(shares)), 3 / 16)
    error = max(over_patients, math.sqrt(share / (20 * len(shares))))
    below = stats.t.interval(0.9, len(shares) - 1, loc=mean(shares), scale=error)[0]
    assert found == pytest.approx(max(0.0, below))


def test_patients_who_differ_have_the_bound_of_scipys_t_test() -> None:
    shares = [0.2, 0.9, 0.5, 0.7, 0.4]
    found = lower_bound(Sample(5, mean(shares), stdev(shares)), 10_000)
    interval = stats.ttest_1samp(shares, 0.25, alternative="greater").confidence_interval(0.95)
    assert found == pytest.approx(interval.low)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_few_patients_who_are_all_alike_leave_a_doubt(share: float) -> None:
    few, many = (lower_bound(Sample(2, share, 0.0), views) for views in (8, 800))
    assert few is not None
    assert many is not None
    assert few < many < share


@pytest.mark.parametrize("sample", [Sample(1, 1.0, None), Sample(1, 1.0, 0.0), Sample(5, 1.0, None)])
def test_one_patient_or_an_unknown_deviation_gives_no_bound(sample: Sample) -> None:
    assert lower_bound(sample, 100) is None


def test_the_line_of_a_model_that_learns() -> None:
    found = judge(JOB, GOOD, 6)
    assert views_of(JOB) == 96
    assert found.line == f"{LINE}: it learns"


@pytest.mark.parametrize(
    ("changes", "patients", "verdict", "end"),
    [
        ({}, 2, "learns", ": it learns"),
        ({"rotation_accuracy": 0.3}, 6, "at chance", ": rotation at chance (lower bound 0.21)"),
        ({"rotation_accuracy_sd": 0.7}, 6, "at chance", ": rotation at chance (lower bound 0.13)"),
        ({"contrastive_share": 0.97}, 6, "at chance", ": contrastive at chance"),
        (AT_CHANCE, 6, "at chance", "rotation at chance (lower bound 0.16), contrastive at chance"),
        ({"feature_spread": 0.001}, 6, "collapsed", "features spread 0.0010, rank 37 of 96: collapsed"),
        ({"feature_spread": 0.001}, 1, "collapsed", ": collapsed"),
        ({}, 1, "not known", ": too few validation patients to tell"),
        ({}, None, "not known", ": too few validation patients to tell"),
        ({"rotation_accuracy_sd": None}, 6, "not known", ": not known how far patients differ"),
        (
            {"rotation_accuracy": None},
            6,
            "not known",
            "contrastive 0.62 of chance, features spread 0.11, rank 37 of 96: the rotation accuracy is not told",
        ),
        (
            {"contrastive_share": None},
            6,
            "learns",
            "rotation 0.71 (chance 0.25), features spread 0.11, rank 37 of 96: it",
        ),
        (
            {"rotation_accuracy": None, "contrastive_share": None},
            6,
            "not known",
            ": neither rotation nor contrastive to",
        ),
        (dict.fromkeys(GOOD), None, "not known", "no validation case to tell by"),
    ],
)
def test_all_that_is_there_must_be_beyond_chance(
    changes: dict[str, float | None], patients: int | None, verdict: Verdict, end: str
) -> None:
    found = judge(JOB, {**GOOD, **changes}, patients)
    assert found.verdict == verdict
    assert end in found.line


def test_a_job_without_rotation_prediction_is_judged_by_the_rest() -> None:
    weights = JOB.pretraining.loss_weights.model_copy(update={"rotation": 0.0})
    found = judge(JOB.changed("pretraining", loss_weights=weights), {**GOOD, "rotation_accuracy": None}, 6)
    assert found.verdict == "learns"
    assert read_learning(found.as_dict()) == found
    assert read_learning(judge(JOB, {**GOOD, "rotation_accuracy": None}, 6).as_dict()).verdict == "not known"


def test_all_sites_patients_count_for_the_global_model() -> None:
    """At each site there is one patient, which says nothing by itself."""
    told = {name: {"metrics": {**GOOD, "rotation_accuracy": share}, "validation_cases": 3} for name, share in SHARES}
    for site in told.values():
        del site["metrics"]["rotation_accuracy_sd"]
        site["scored"] = {"rotation_accuracy": 1}
    assert {judge_site(JOB, site).verdict for site in told.values()} == {"not known"}
    found = judge_record(JOB, round_record(3, "ok", told))
    assert found
    assert (found.verdict, found.patients, found.round) == ("learns", 3, 3)
    shares = [share for _, share in SHARES]
    error = max(stdev(shares) / math.sqrt(3), math.sqrt(mean(shares) * (1 - mean(shares)) / (3 * 96)))
    assert found.rotation_accuracy_bound == pytest.approx(mean(shares) - stats.t.ppf(0.95, 2) * error)


SHARES = [("a", 0.7), ("b", 0.8), ("c", 0.75)]


@pytest.mark.parametrize("odd", [math.nan, math.inf, -1.0, 1e30, "0.9", True, [0.5]])
@pytest.mark.parametrize("name", list(GOOD))
def test_a_number_that_cannot_be_is_left_out(name: str, odd: Any) -> None:
    assert not is_plausible(name, odd)
    kept = judge(JOB, {**GOOD, name: odd}, 6)
    assert kept == judge(JOB, {key: value for key, value in GOOD.items() if key != name}, 6)
    json.dumps(kept.as_dict(), allow_nan=False)


def test_hostile_sites_of_a_record_are_left_out() -> None:
    honest = learning_record(2)["sites"]
    for evil in (
        {"metrics": {**GOOD, "rotation_accuracy": 1e30}, "validation_cases": 5},
        {"metrics": {"rotation_accuracy": "yes"}, "validation_cases": 5},
        {"metrics": GOOD, "validation_cases": 10**400},
        {"metrics": GOOD, "validation_cases": -3},
        {"metrics": GOOD, "validation_cases": 5, "scored": {"rotation_accuracy": "many"}},
    ):
        found = judge_record(JOB, {**learning_record(2), "sites": {**honest, "evil": evil}})
        assert found == judge_record(JOB, learning_record(2))


def test_what_is_written_is_read_again() -> None:
    found = judge_record(JOB, learning_record(2))
    assert found
    told = json.loads(json.dumps(found.as_dict()))
    assert told["verdict"] == "learns"
    assert read_learning(told) == found


def test_of_a_file_only_plausible_numbers_under_known_names_are_taken() -> None:
    told = {**Learning(**{**vars(judge(JOB, GOOD, 6))}).as_dict(), "verdict": "learns", "line": "trust me"}
    evil = {**told, "contrastive_share": math.nan, "feature_rank": "x" * 1000, "feature_spread": 0.001, "patients": -1}
    found = read_learning(evil)
    assert found
    assert (found.contrastive_share, found.feature_rank, found.patients) == (None, None, None)
    assert found.verdict == "collapsed"
    assert len(found.line) < 200
    for nothing in (None, "learns", [], {}, {"verdict": "learns"}, {"rotation_accuracy": 0.5}):
        assert read_learning(nothing) is None


def test_an_older_record_has_no_line() -> None:
    site = {"metrics": {"loss": 1.0, "rotation_accuracy": 0.3}, "validation_cases": 6}
    older = round_record(8, "ok", {"a": site})
    assert judge_record(JOB, older) is None
    assert judge_site(JOB, site) is None
    assert warning(JOB, [], older) == ""


def test_a_fine_tuning_has_none() -> None:
    assert judge_record(tiny.job(tiny.FINETUNE), learning_record(2)) is None


def warnings_of(*records: Record) -> list[str]:
    return [warning(JOB, records[:number], found) for number, found in enumerate(records)]


def test_a_run_at_chance_is_warned_of_once_after_a_quarter_of_its_steps() -> None:
    found = warnings_of(*(learning_record(number, **AT_CHANCE) for number in range(9)))
    told = f"Warning: after 25% of its steps, the pre-training is at chance. What to do: {PAGE}"
    assert found == ["", "", told, *[""] * 6]
    assert warning_text(JOB, learning_record(5, **AT_CHANCE)).startswith("Warning: after 62% of its steps")


def test_a_collapse_is_warned_of_at_once_but_not_before_any_step() -> None:
    found = warnings_of(*(learning_record(number, **COLLAPSED) for number in range(4)))
    assert [bool(text) for text in found] == [False, True, True, False], "and again when it is not early any more"
    assert "the pre-training has collapsed; so early it may recover. What to do" in found[1]
    assert "the pre-training has collapsed. What to do" in found[2]


def test_a_person_is_warned_anew_when_it_changes() -> None:
    states = [{}, {}, AT_CHANCE, COLLAPSED, {"rotation_accuracy_sd": None}, COLLAPSED, {}, AT_CHANCE]
    found = warnings_of(*(learning_record(number, **state) for number, state in enumerate(states)))
    words = ["", "", "at chance", "collapsed", "", "", "", "at chance"]
    assert [word in text and bool(word) == bool(text) for word, text in zip(words, found, strict=True)] == [True] * 8


def test_a_failed_round_without_scores_changes_nothing() -> None:
    lost = {**learning_record(4, **AT_CHANCE), "status": "failed", "sites": {}}
    found = warnings_of(learning_record(0), learning_record(3, **AT_CHANCE), lost, learning_record(5, **AT_CHANCE))
    assert [bool(text) for text in found] == [False, True, False, False]


@pytest.mark.parametrize(("local_steps", "first"), [(25, 6), (75, 6), (125, 4), (300, 2)])
def test_a_short_run_is_warned_of_after_500_steps_or_three_quarters(local_steps: int, first: int) -> None:
    short = JOB.changed("federation", local_steps=local_steps)
    told = [bool(warning(short, [], learning_record(number, **AT_CHANCE))) for number in range(9)]
    assert told == [False] * first + [True] * (9 - first)


def test_the_rule_needs_no_torch() -> None:
    code = "import sys, fedswin.pretraining.verdict; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("told", [{"rotation_accuracy": 0.1}, {}])
def test_a_file_whose_bound_is_above_the_mean_says_nothing_of_rotation(told: dict[str, float]) -> None:
    found = read_learning({"contrastive_share": 0.5, "rotation_accuracy_bound": 0.9, "patients": 4, **told})
    assert found
    assert found.rotation_accuracy_bound is None
    assert found.verdict == ("not known" if told else "learns")
