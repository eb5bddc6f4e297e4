"""What holds of every aggregation rule, and which rule and weight a job asks for."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federation.aggregation.answers import VALUES, Answer, aggregate, answers
from fedswin.aggregation_settings import AggregationSettings
from fedswin.federation.aggregation.rules import Rule, build_rule, site_weight
from fedswin.federation.refusal import UpdateRefusedError

MEAN = AggregationSettings(rule="mean")
TRIMMED = AggregationSettings(rule="trimmed_mean", trim=1)
each_rule = pytest.mark.parametrize("settings_", [MEAN, TRIMMED], ids=["mean", "trimmed_mean"])


def rule_for(settings_: AggregationSettings, model: np.ndarray) -> Rule:
    return build_rule(settings_, {"w": model.shape})


@each_rule
@settings(deadline=None)
@given(models=answers(least=3), shuffler=st.randoms())
def test_the_order_of_arrival_changes_no_bit(
    settings_: AggregationSettings, models: list[Answer], shuffler: random.Random
):
    shuffled = list(models)
    shuffler.shuffle(shuffled)
    one, other = (aggregate(rule_for(settings_, order[0][0]), order) for order in (models, shuffled))
    assert one.tobytes() == other.tobytes()


@each_rule
@settings(deadline=None)
@given(models=answers(least=3))
def test_the_result_lies_between_the_smallest_and_the_largest(settings_: AggregationSettings, models: list[Answer]):
    stacked = np.stack([values for values, _ in models])
    found = aggregate(rule_for(settings_, stacked[0]), models)
    assert (found >= stacked.min(axis=0)).all()
    assert (found <= stacked.max(axis=0)).all()


@each_rule
@settings(deadline=None)
@given(
    values=arrays(np.float32, 8, elements=st.floats(-1e5, 1e5, width=32)),
    weights=st.lists(st.integers(1, 500), min_size=3, max_size=9),
)
def test_identical_models_come_back_bit_for_bit(settings_: AggregationSettings, values: np.ndarray, weights: list[int]):
    found = aggregate(rule_for(settings_, values), [(values, weight) for weight in weights])
    assert found.tobytes() == values.tobytes()


@each_rule
def test_zeros_of_both_signs_give_the_same_bits_in_any_order(settings_: AggregationSettings):
    zeros = [(np.full(1, zero, np.float32), 1) for zero in (0.0, -0.0, -0.0)]
    turned = [aggregate(rule_for(settings_, zeros[0][0]), zeros[turn:] + zeros[:turn]).tobytes() for turn in range(3)]
    assert len(set(turned)) == 1


@settings(deadline=None)
@given(values=arrays(np.float32, 8, elements=VALUES), weight=st.integers(1, 1_000_000))
def test_one_site_alone_gets_exactly_what_it_sent(values: np.ndarray, weight: int):
    assert aggregate(rule_for(MEAN, values), [(values, weight)]).tobytes() == values.tobytes()


@each_rule
@pytest.mark.parametrize("bad", [2.0**31, -(2.0**31), np.inf, np.nan])
def test_a_refused_update_changes_nothing(settings_: AggregationSettings, bad: float):
    rule = build_rule(settings_, {"v": (2,), "w": (2,)})
    good = {"v": np.array([1, 2], np.float32), "w": np.array([3, 4], np.float32)}
    for _ in range(3):
        rule.add(good, 1)
    with pytest.raises(UpdateRefusedError, match=r"w holds a value of magnitude .*, the limit is 2.15e\+09"):
        rule.add({"v": np.array([9, 9], np.float32), "w": np.array([0, bad], np.float32)}, 1)
    assert rule.models == 3
    assert all(np.array_equal(array, good[name]) for name, array in rule.mean().items())


def test_the_largest_value_falls_as_the_weight_grows():
    rule = build_rule(MEAN, {"w": (1,)})
    rule.add({"w": np.full(1, 2000, np.float32)}, 1_000_000)
    with pytest.raises(UpdateRefusedError, match=r"magnitude 3e\+03, the limit is 2.15e\+03"):
        rule.add({"w": np.full(1, -3000, np.float32)}, 1_000_000)


@pytest.mark.parametrize(("settings_", "needed"), [(MEAN, 1), (TRIMMED, 3)])
def test_too_few_updates_have_no_mean(settings_: AggregationSettings, needed: int):
    rule = build_rule(settings_, {"w": (3,)})
    for found in range(needed):
        with pytest.raises(UpdateRefusedError, match=f"{found} updates to average, at least {needed} are needed"):
            rule.mean()
        rule.add({"w": np.ones(3, np.float32)}, 1)
    assert np.array_equal(rule.mean()["w"], np.ones(3))


def several_arrays(seed: int) -> Mapping[str, np.ndarray]:
    """Return a model of which one array is too large for a piece, one is empty, one a scalar, and one transposed."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"large": (3, 10_000), "empty": (0, 4), "scalar": (), "turned": (4, 5, 6)}
    return {name: rng.standard_normal(shape).astype(np.float32).T for name, shape in shapes.items()}


@each_rule
def test_arrays_of_every_size_and_layout_are_averaged_in_their_own_shape(settings_: AggregationSettings):
    models = [several_arrays(seed) for seed in range(3)]
    rule = build_rule(settings_, {name: array.shape for name, array in models[0].items()})
    for model in models:
        rule.add(model, 1)
    average = np.mean if settings_ == MEAN else np.median  # of three values the trimmed mean is the median
    for name, found in rule.mean().items():
        expected = average(np.stack([model[name] for model in models]).astype(np.float64), axis=0)
        assert found.dtype == np.float32
        assert found.shape == models[0][name].shape
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-7)


@each_rule
def test_memory_is_six_models_however_many_sites_answer(settings_: AggregationSettings):
    model = {"w": np.ones(2**19, np.float32)}
    rule = build_rule(settings_, {"w": model["w"].shape})
    tracemalloc.start()
    try:
        for _ in range(3):
            rule.add(model, 1)
        held, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            rule.add(model, 1)
        held_later, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert abs(held_later - held) < 0.1 * model["w"].nbytes
    assert 5.9 < held / model["w"].nbytes < peak / model["w"].nbytes < 6.5


@each_rule
def test_forming_the_mean_lets_what_was_kept_go_array_by_array(settings_: AggregationSettings):
    model = {str(number): np.ones(2**16, np.float32) for number in range(16)}
    rule = build_rule(settings_, {name: array.shape for name, array in model.items()})
    tracemalloc.start()
    try:
        for _ in range(3):
            rule.add(model, 1)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        mean = rule.mean()
        held_later, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    array = mean["0"].nbytes
    assert peak - held < 3 * array
    assert len(mean) * array < held_later < (len(mean) + 2) * array
    assert rule.models == 0


@pytest.mark.parametrize(
    ("settings_", "weight"),
    [
        (AggregationSettings(weights="cases"), 12),
        (AggregationSettings(weights="steps"), 500),
        (AggregationSettings(weights="uniform"), 1),
        (AggregationSettings(weights="cases", rule="trimmed_mean"), 1),
    ],
)
def test_a_site_weighs_what_the_job_says(settings_: AggregationSettings, weight: int):
    assert site_weight(settings_, cases=12, steps=500) == weight
