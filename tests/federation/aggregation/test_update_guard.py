"""What the guard refuses, with its reason, and that its verdict depends on earlier rounds alone."""

from __future__ import annotations

import json
import math
import statistics
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedswin.federation.aggregation.update_guard import UpdateGuard
from fedswin.federation.refusal import UpdateRefusedError

GLOBAL_MODEL = {"w": np.zeros(3, np.float32)}
NORMS = st.lists(st.floats(0.01, 100), min_size=1, max_size=4)


def guard(max_norm_ratio: float | None = 10.0) -> UpdateGuard:
    return UpdateGuard({"w": (3,)}, max_norm_ratio)


def accepts(judge: UpdateGuard, norm: float) -> bool:
    try:
        judge.check({"w": np.array([norm, 0, 0], np.float32)}, GLOBAL_MODEL, 1)
    except UpdateRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("update", "weight", "reason"),
    [
        ({"w": np.array([np.nan, 1, -np.inf], np.float32)}, 1, "w holds 2 values that are not finite"),
        ({"w": np.zeros(4, np.float32)}, 1, r"w has the shape \[4\], expected \[3\]"),
        ({"v": np.zeros(3, np.float32)}, 1, "missing w; unknown v"),
        ({"w": np.zeros(3, np.float64)}, 1, "w is float64, expected float32"),
        ({"w": np.zeros(3, ">f4")}, 1, "w is >f4, expected float32"),
        (GLOBAL_MODEL, 0, "from 1 to 1000000, found 0"),
        (GLOBAL_MODEL, -3, "from 1 to 1000000, found -3"),
        (GLOBAL_MODEL, 1_000_001, "from 1 to 1000000, found 1000001"),
        (GLOBAL_MODEL, 2.5, "an integer, found a float"),
        (GLOBAL_MODEL, True, "an integer, found a bool"),
        (GLOBAL_MODEL, "/scans/patient_7", "an integer, found a str$"),
    ],
)
def test_a_bad_update_is_refused_with_its_reason(update, weight, reason):
    with pytest.raises(UpdateRefusedError, match=reason):
        guard().check(update, GLOBAL_MODEL, weight)


@given(*[arrays(np.float32, 6, elements=st.floats(-(2.0**127), 2.0**127, width=32)) for _ in range(2)])
def test_the_norm_is_that_of_the_difference_in_float64_whatever_the_order_of_the_keys(update, reference):
    names = ("a", "b", "c")
    shapes = dict.fromkeys(names, (2,))
    parts, origin = (dict(zip(names, np.split(values, 3), strict=True)) for values in (update, reference))
    found = UpdateGuard(shapes, None).check(parts, origin, 1)
    assert math.isclose(found, math.dist(update.tolist(), reference.tolist()), rel_tol=1e-12, abs_tol=1e-150)
    turned = dict(reversed(parts.items()))
    assert UpdateGuard(dict(reversed(shapes.items())), None).check(turned, origin, 1) == found


def test_an_update_above_the_ratio_is_refused_with_its_numbers():
    judge = guard()
    judge.close_round([1.0, 2.0, 4.0])
    assert accepts(judge, 20.0)
    with pytest.raises(UpdateRefusedError, match="the norm is 21, 10.5 times the median .*; max_norm_ratio is 10"):
        judge.check({"w": np.array([0, 21, 0], np.float32)}, GLOBAL_MODEL, 1)


@given(st.lists(NORMS, min_size=1, max_size=8))
def test_the_median_is_over_all_norms_of_the_last_five_rounds(rounds: list[list[float]]):
    judge = guard()
    for norms in rounds:
        judge.close_round(norms)
    median = statistics.median([norm for norms in rounds[-5:] for norm in norms])
    assert accepts(judge, 9.999 * median)
    assert not accepts(judge, 10.001 * median)


@given(NORMS, st.lists(st.floats(0.125, 3000, width=32)))
def test_what_a_round_has_brought_so_far_changes_no_verdict(earlier: list[float], norms: list[float]):
    judge = guard()
    judge.close_round(earlier)
    forwards = [accepts(judge, norm) for norm in norms]
    assert forwards == [accepts(judge, norm) for norm in reversed(norms)][::-1]


def test_rounds_without_an_accepted_update_leave_the_history_as_it_is():
    judge = guard()
    judge.close_round([1.0])
    for _ in range(5):
        judge.close_round([])
    assert not accepts(judge, 11.0)


@pytest.mark.parametrize(("ratio", "norms"), [(10.0, []), (10.0, [0.0, 0.0, 5.0]), (None, [1.0])])
def test_any_norm_passes_without_history_or_a_median_or_a_ratio(ratio: float | None, norms: list[float]):
    judge = guard(ratio)
    judge.close_round(norms)
    assert accepts(judge, 1e30)


@given(st.lists(NORMS, max_size=8), st.lists(NORMS, max_size=4))
def test_a_guard_that_is_restored_from_json_goes_on_as_the_one_before(before, after):
    one, other = guard(), guard()
    for norms in before:
        one.close_round(norms)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for norms in after:
        one.close_round(norms)
        other.close_round(norms)
    assert other.state_dict() == one.state_dict()
    assert [accepts(other, 2.0**power) for power in range(-8, 12)] == [
        accepts(one, 2.0**power) for power in range(-8, 12)
    ]


def test_checking_takes_memory_for_one_array_at_a_time():
    model = {str(number): np.ones(2**16, np.float32) for number in range(16)}
    judge = UpdateGuard({name: array.shape for name, array in model.items()}, None)
    tracemalloc.start()
    try:
        judge.check(model, model, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * model["0"].nbytes
