"""Differences to scratch and their intervals: by hand, by a bootstrap written out, and where seeds disagree."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, quantiles

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from experiments.studies import CELL, row
from fedswin.experiments.paired import difference
from fedswin.experiments.rows import Row

ARM = replace(CELL, arm="federated", objective="inpainting", cases="all")


def arm(encoder: int, seed: int, cases: dict[str, float], **measures: float) -> Row:
    return row(replace(ARM, encoder_seed=encoder, seed=seed), cases, **measures)


def scratch(seed: int, cases: dict[str, float], **measures: float) -> Row:
    return row(replace(CELL, seed=seed), cases, **measures)


def crossed(rng: np.random.Generator, seeds: int, patients: Sequence[str]) -> tuple[list[Row], list[Row]]:
    base = [scratch(seed, {name: rng.uniform() for name in patients}) for seed in range(seeds)]
    of_encoders, of_patients = rng.normal(0, 0.05, seeds), dict(zip(patients, rng.normal(0, 0.1, 99), strict=False))
    rows = [
        arm(e + 10, s, {name: base[s].cases[name] + of_encoders[e] + of_patients[name] for name in patients})
        for e in range(seeds)
        for s in range(seeds)
    ]
    return rows, base


def test_the_interval_is_that_of_a_bootstrap_written_out() -> None:
    patients = [f"{site}/{number}" for site in "ab" for number in range(6)]
    rows, base = crossed(np.random.default_rng(0), 3, patients)
    of = {(r.cell.encoder_seed, r.cell.seed): r.cases for r in rows}
    rng, replicates = random.Random(1), []
    for _ in range(4000):
        encoders, seeds = rng.choices([10, 11, 12], k=3), rng.choices([0, 1, 2], k=3)
        drawn = [name for site in "ab" for name in rng.choices([p for p in patients if p.startswith(site)], k=6)]
        values = [of[e, s][name] - base[s].cases[name] for e in encoders for s in seeds for name in drawn]
        replicates.append(mean(values))
    cuts = quantiles(replicates, n=40)
    found = difference(rows, base)
    assert found is not None
    assert found.mean == pytest.approx(mean(r.cases[p] - base[r.cell.seed].cases[p] for r in rows for p in patients))
    assert (found.low, found.high) == pytest.approx((cuts[0], cuts[-1]), abs=0.006)
    assert (found.runs, found.seeds, found.patients) == (9, (3, 3), 12)
    assert cuts[-1] - cuts[0] > 0.05  # the tolerance is small beside it


def test_many_patients_of_models_that_disagree_are_no_evidence() -> None:
    patients = {f"a/{number}": 0.5 for number in range(200)}
    base = [scratch(seed, patients) for seed in (0, 1)]
    rows = [arm(s, s, dict.fromkeys(patients, 0.5 + (0.1 if s else -0.06))) for s in (0, 1)]
    found = difference(rows, base)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.02, -0.06, 0.1))


def test_patients_of_one_model_are_drawn_together_for_all_models() -> None:
    """Patients that each seed draws by itself would halve the variance with four seeds of the same differences."""
    values = np.random.default_rng(0).normal(0, 0.1, 30)
    base = [scratch(seed, {f"a/{n}": 0.5 for n in range(30)}) for seed in range(4)]
    rows = [arm(s, s, {f"a/{n}": 0.5 + value for n, value in enumerate(values)}) for s in range(4)]
    found, alone = difference(rows, base), difference(rows[:1], base[:1])
    assert found is not None
    assert alone is not None
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.1)


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.5, 0.5), st.integers(1, 3), st.integers(1, 4))
def test_the_same_difference_everywhere_has_no_spread(shift: float, seeds: int, patients: int) -> None:
    base = [scratch(s, {f"a/{n}": 0.1 * n + 0.01 * s for n in range(patients)}) for s in range(seeds)]
    rows = [
        arm(e + 7, s, {name: dice + shift for name, dice in base[s].cases.items()})
        for e in range(seeds)
        for s in range(seeds)
    ]
    found = difference(rows, base)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((shift, shift, shift), abs=1e-12)


def test_seeds_that_test_different_cases_count_each_case_once() -> None:
    base = [scratch(0, {"a/1": 0.0, "a/2": 0.0}), scratch(1, {"a/3": 0.0})]
    found = difference([arm(0, 0, {"a/1": 0.1, "a/2": 0.2}), arm(1, 1, {"a/3": 0.6})], base)
    assert found is not None
    assert found.mean == pytest.approx(0.3)
    assert found.low <= 0.15
    assert found.high == pytest.approx(0.6)


def test_a_seed_that_pre_trains_and_fine_tunes_is_drawn_once_for_both() -> None:
    """The mean of four draws of 0, 0, 0 and 1 is binomial: three quarters at its 97.5th percentile."""
    base = [scratch(seed, {"a/1": 0.0}) for seed in range(4)]
    found = difference([arm(s, s, {"a/1": float(s == 3)}) for s in range(4)], base)
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.25, 0, 0.75)


def test_the_worst_site_is_another_one_for_each_model() -> None:
    base = [scratch(0, {"a/1": 0.2, "a/2": 0.4, "b/1": 0.9})]  # a: 0.3
    found = difference([arm(0, 0, {"a/1": 0.8, "a/2": 0.8, "b/1": 0.7})], base, "worst_site_dice")  # b: 0.7
    assert found is not None
    assert found.mean == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((0.3, 0.5))  # a of scratch is 0.2 to 0.4, all else stays


def test_the_area_has_one_value_a_run_and_no_patients() -> None:
    base = [scratch(s, {"a/1": 0.5}, dice_area=0.2) for s in (0, 1)]
    rows = [arm(s, s, {"a/1": 0.5}, dice_area=0.3 + 0.1 * s) for s in (0, 1)]
    found = difference(rows, base, "dice_area")
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.15, 0.1, 0.2))
    assert found.patients == 0


def test_distances_are_compared_case_by_case_and_what_no_row_has_is_not() -> None:
    base = replace(scratch(0, {"a/1": 0.5}), hd95={"a/1": 20.0, "a/2": 8.0})
    found = difference([replace(arm(0, 0, {"a/1": 0.5}), hd95={"a/1": 10.0, "a/3": 1.0})], [base], "hd95")
    assert found is not None
    assert (found.mean, found.patients) == (-10, 1)
    assert difference([arm(0, 0, {"a/1": 0.5})], [base], "nsd") is None
    assert difference([arm(0, 1, {"a/1": 0.5})], [base]) is None  # no partner from scratch


@pytest.mark.parametrize("means", [[0.1, 0.12, 0.08], [0.1, 0.3, -0.1], [0.1, 0.101], [0.1, 0.2]])
def test_whether_it_holds_over_seeds_is_a_t_test_of_their_means(means: list[float]) -> None:
    base = [scratch(seed, {"a/1": 0.4, "a/2": 0.6}) for seed in range(len(means))]
    rows = [arm(seed, seed, {"a/1": 0.4 + gain, "a/2": 0.6 + gain}) for seed, gain in enumerate(means)]
    found = difference(rows, base)
    assert found is not None
    assert found.holds_over_seeds == (ttest_1samp(means, 0).pvalue < 0.05)


def test_of_three_seeds_without_a_difference_few_hold() -> None:
    """Two in a hundred or so are sure by chance; by the bootstrap alone it is one in four."""
    rng, held, outside = np.random.default_rng(0), 0, 0
    patients = [f"a/{number}" for number in range(8)]
    for _ in range(60):
        base = [scratch(seed, dict.fromkeys(patients, 0.5)) for seed in range(3)]
        of_seed = rng.normal(0, 0.05, 3)
        rows = [arm(s, s, {name: 0.5 + of_seed[s] + rng.normal(0, 0.02) for name in patients}) for s in range(3)]
        found = difference(rows, base)
        assert found is not None
        outside += not found.low <= 0 <= found.high
        held += found.holds_over_seeds and not found.low <= 0 <= found.high
    assert held <= 6 < outside
