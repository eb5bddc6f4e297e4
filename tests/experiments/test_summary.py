"""Means, deviations, the worst site, and the gain over scratch, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.studies import CELL, row
from fedswin.experiments.summary import Spread, summarize, varying_axes

FEDERATED = replace(CELL, arm="federated", objective="inpainting", cases="all")


def seeded(cell, seed):
    return replace(cell, seed=seed)


def test_mean_deviation_and_worst_site_are_over_the_seeds() -> None:
    rows = [
        row(seeded(CELL, 0), {"a/1": 0.2, "a/2": 0.4, "b/1": 0.6}, hd95=3.0),
        row(seeded(CELL, 1), {"a/3": 0.5, "b/2": 0.1}, hd95=5.0),
    ]
    [summary] = summarize(rows)
    assert summary.seeds == [0, 1]
    assert summary.measures["dice"].mean == pytest.approx((0.4 + 0.3) / 2)
    assert summary.measures["dice"].deviation == pytest.approx(np.std([0.4, 0.3], ddof=1))
    assert summary.measures["hd95"].mean == 4
    assert summary.sites["a"] == Spread(pytest.approx(0.4), pytest.approx(np.std([0.3, 0.5], ddof=1)))
    assert summary.sites["b"].mean == pytest.approx(0.35)
    assert summary.worst_site == "b"
    assert summary.cases == {"a/1": 0.2, "a/2": 0.4, "a/3": 0.5, "b/1": 0.6, "b/2": 0.1}


def test_one_seed_has_no_deviation_and_a_measure_that_a_row_lacks_is_not_told() -> None:
    one, two = row(seeded(CELL, 0), {"a/1": 0.5}, hd95=1.0), row(seeded(CELL, 1), {"a/1": 0.5})
    assert summarize([one])[0].measures["dice"] == Spread(0.5, None)
    assert "hd95" not in summarize([one, two])[0].measures


def test_the_gain_is_over_the_same_cases_of_the_same_seed() -> None:
    differences = [0.1, 0.2, -0.05, 0.3, 0.15, 0.01, -0.02, 0.4]
    base = {f"a/{number}": 0.3 for number in range(8)}
    better = {name: dice + change for (name, dice), change in zip(base.items(), differences, strict=True)}
    rows = [row(CELL, base), row(FEDERATED, better), row(seeded(FEDERATED, 1), {"a/9": 0.9})]
    scratch, federated = summarize(rows)
    assert scratch.gain is None
    assert federated.gain is not None
    assert federated.gain.differences["dice"].mean == pytest.approx(np.mean(differences))  # seed 1 has no partner
    assert (federated.gain.better, federated.gain.cases, federated.gain.runs) == (6, 8, 1)


def test_a_case_that_several_seeds_test_counts_once() -> None:
    rows = [row(seeded(CELL, seed), {"a/1": 0.5, "a/2": 0.5}) for seed in (0, 1)]
    rows += [row(seeded(FEDERATED, 0), {"a/1": 0.6, "a/2": 0.6}), row(seeded(FEDERATED, 1), {"a/1": 0.2, "a/2": 0.7})]
    gain = summarize(rows)[1].gain
    assert gain is not None
    assert (gain.better, gain.cases) == (1, 2)  # on average -0.1 and 0.15
    assert (gain.better_runs, gain.runs) == (1, 2)  # by 0.1 in one, and −0.05 in the other
    assert gain.differences["dice"].mean == pytest.approx(0.025)


def test_equal_scores_are_no_gain() -> None:
    gain = summarize([row(CELL, {"a/1": 0.5}), row(FEDERATED, {"a/1": 0.5})])[1].gain
    assert gain is not None
    assert (gain.differences["dice"].mean, gain.better) == (0, 0)


def test_the_seeds_of_encoders_are_told_where_they_are_others_and_scratch_is_shared() -> None:
    rows = [row(replace(CELL, seed=seed), {"a/1": 0.1 * seed}) for seed in (0, 1)]
    rows += [
        row(replace(FEDERATED, seed=seed, encoder_seed=encoder), {"a/1": 0.1 * seed + 0.01 * encoder})
        for encoder in (3, 4)
        for seed in (0, 1)
    ]
    scratch, federated = summarize(rows)
    assert (federated.seeds, federated.encoder_seeds) == ([0, 1], [3, 4])
    assert (scratch.seeds, scratch.encoder_seeds) == ([0, 1], [])
    assert federated.gain is not None
    assert federated.gain.runs == 4
    assert federated.gain.differences["dice"].mean == pytest.approx(0.035)


def test_a_frozen_encoder_is_compared_with_a_frozen_random_one() -> None:
    frozen = [row(replace(cell, frozen=True), {"a/1": dice}) for cell, dice in ((CELL, 0.1), (FEDERATED, 0.3))]
    rows = [row(CELL, {"a/1": 0.6}), row(FEDERATED, {"a/1": 0.5}), *frozen]
    gains = [summary.gain.differences["dice"].mean for summary in summarize(rows) if summary.gain]
    assert gains == pytest.approx([-0.1, 0.2])
    assert varying_axes(rows) == ["arm", "frozen"]


def test_runs_are_compared_with_scratch_at_the_same_amount_of_labels() -> None:
    two = replace(CELL, labels=2)
    rows = [row(CELL, {"a/1": 0.5}), row(two, {"a/1": 0.1}), row(replace(FEDERATED, labels=2), {"a/1": 0.3})]
    gain = summarize(rows)[2].gain
    assert gain is not None
    assert gain.differences["dice"].mean == pytest.approx(0.2)


def test_beside_the_arm_only_axes_with_several_values_say_something() -> None:
    rows = [row(cell, {"a/1": 0.5}) for cell in (CELL, FEDERATED, seeded(FEDERATED, 1), replace(FEDERATED, labels=2))]
    assert varying_axes(rows) == ["labels", "arm"]


def test_a_plan_with_and_without_a_hospital_varies_who_is_left_out() -> None:
    rows = [row(replace(CELL, left_out=left_out), {"a/1": 0.5}) for left_out in ("", "b")]
    assert varying_axes(rows) == ["left_out", "arm"]
