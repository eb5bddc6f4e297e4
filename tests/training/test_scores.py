"""Scores of patients at several sites: combined as if all patients' scores were in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedswin.training.scores import Sample, combined, global_scores, pooled_scores, sample_of

SHARES = st.floats(0, 1)


def site(shares: Sequence[float], cases: int) -> dict[str, Any]:
    """A site with these patients, some of which may have several cases."""
    deviation = {"rotation_accuracy_sd": stdev(shares)} if len(shares) > 1 else {}
    scored = {"scored": {"rotation_accuracy": len(shares)}} if len(shares) < cases else {}
    return {"metrics": {"rotation_accuracy": mean(shares), **deviation}, "validation_cases": cases, **scored}


@given(st.lists(st.tuples(st.lists(SHARES, min_size=1, max_size=6), st.integers(0, 3)), min_size=1, max_size=5))
def test_sites_come_to_what_all_their_patients_would(sites: list[tuple[list[float], int]]) -> None:
    told = {str(number): site(shares, len(shares) + more) for number, (shares, more) in enumerate(sites)}
    together = [share for shares, _ in sites for share in shares]
    expected = {"rotation_accuracy": mean(together)}
    if len(together) > 1:
        expected["rotation_accuracy_sd"] = stdev(together)
    for found in (global_scores(told), pooled_scores(told)):
        assert found == pytest.approx(expected, abs=1e-9)


def test_deviations_are_not_averaged() -> None:
    """Within each site patients are alike, and the sites differ."""
    told = {"a": site([0.0, 0.0], 2), "b": site([1.0, 1.0], 2)}
    assert global_scores(told)["rotation_accuracy_sd"] == pytest.approx(math.sqrt(1 / 3))


def test_a_deviation_that_one_site_keeps_to_itself_is_not_known_of_all() -> None:
    told = {"a": site([0.2, 0.4], 2), "b": {"metrics": {"rotation_accuracy": 0.6}, "validation_cases": 2}}
    assert global_scores(told) == {"rotation_accuracy": pytest.approx(0.45)}


def test_a_site_of_one_patient_counts_as_one() -> None:
    told = {"a": site([0.25], 3), "b": site([0.75, 0.5], 2)}
    assert global_scores(told)["rotation_accuracy"] == pytest.approx(0.5)
    assert global_scores(told)["rotation_accuracy_sd"] == pytest.approx(0.25)


def test_other_metrics_are_weighed_by_cases_as_before() -> None:
    told = {
        "a": {**site([0.5], 3), "metrics": {"loss": 1.0, "rotation_accuracy": 0.5}},
        "b": {"metrics": {"loss": 5.0}, "validation_cases": 1},
    }
    assert global_scores(told)["loss"] == 2.0


def test_no_patients_are_no_sample() -> None:
    assert combined([]) is None
    assert sample_of([]) is None
    assert sample_of([0.5]) == Sample(1, 0.5, None)
