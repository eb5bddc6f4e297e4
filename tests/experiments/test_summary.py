"""Means, deviations, the worst site, and the gain over scratch, by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from experiments.studies import CELL, row
from fedswin.experiments.summary import Spread, summarize, varying_axes

FEDERATED = replace(CELL, arm="federated", objective="inpainting", cases="all")


def seeded(cell, seed):
    return replace(cell, seed=seed)


def signed_rank_p(differences: list[float]) -> float:
    """The two-sided p of Wilcoxon's test, from all signs that the ranks of the differences could have had."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    centre = ranks.sum() / 2
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product([0, 1], repeat=len(ranks))
    ]
    return float(np.mean([abs(total - centre) >= abs(observed - centre) for total in sums]))


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


def test_the_gain_is_over_the_same_cases_of_the_same_seed_and_its_p_is_wilcoxons() -> None:
    differences = [0.1, 0.2, -0.05, 0.3, 0.15, 0.01, -0.02, 0.4]
    base = {f"a/{number}": 0.3 for number in range(8)}
    better = {name: dice + change for (name, dice), change in zip(base.items(), differences, strict=True)}
    rows = [row(CELL, base), row(FEDERATED, better), row(seeded(FEDERATED, 1), {"a/9": 0.9})]
    scratch, federated = summarize(rows)
    assert scratch.gain is None
    assert federated.gain is not None
    assert federated.gain.mean == pytest.approx(np.mean(differences))  # seed 1 has no run from scratch
    assert (federated.gain.better, federated.gain.cases) == (6, 8)
    assert federated.gain.p == pytest.approx(signed_rank_p(differences))


def test_a_case_that_several_seeds_test_counts_once() -> None:
    rows = [row(seeded(CELL, seed), {"a/1": 0.5, "a/2": 0.5}) for seed in (0, 1)]
    rows += [row(seeded(FEDERATED, 0), {"a/1": 0.6, "a/2": 0.6}), row(seeded(FEDERATED, 1), {"a/1": 0.2, "a/2": 0.7})]
    gain = summarize(rows)[1].gain
    assert gain is not None
    assert (gain.better, gain.cases) == (1, 2)  # on average -0.1 and 0.15
    assert (gain.better_seeds, gain.seeds) == (1, 2)  # by 0.1 in one, and −0.05 in the other
    assert gain.mean == pytest.approx(0.025)


def test_equal_scores_are_no_gain_and_have_no_p() -> None:
    gain = summarize([row(CELL, {"a/1": 0.5}), row(FEDERATED, {"a/1": 0.5})])[1].gain
    assert gain is not None
    assert (gain.mean, gain.better, gain.p) == (0, 0, None)


def test_runs_are_compared_with_scratch_at_the_same_amount_of_labels() -> None:
    two = replace(CELL, labels=2)
    rows = [row(CELL, {"a/1": 0.5}), row(two, {"a/1": 0.1}), row(replace(FEDERATED, labels=2), {"a/1": 0.3})]
    gain = summarize(rows)[2].gain
    assert gain is not None
    assert gain.mean == pytest.approx(0.2)


def test_beside_the_arm_only_axes_with_several_values_say_something() -> None:
    rows = [row(cell, {"a/1": 0.5}) for cell in (CELL, FEDERATED, seeded(FEDERATED, 1), replace(FEDERATED, labels=2))]
    assert varying_axes(rows) == ["labels", "arm"]


def test_a_plan_with_and_without_a_hospital_varies_who_is_left_out() -> None:
    rows = [row(replace(CELL, left_out=left_out), {"a/1": 0.5}) for left_out in ("", "b")]
    assert varying_axes(rows) == ["left_out", "arm"]
