"""The record of a round: what the sites say becomes one score that picks the best model."""

from __future__ import annotations

import pytest

from fedswin.run_folder import round_record


def site(cases: int, **metrics: float | None) -> dict[str, object]:
    return {"metrics": metrics, "validation_cases": cases}


def test_each_metric_is_the_mean_over_the_sites_that_have_it() -> None:
    record = round_record(1, "ok", {"a": site(3, loss=1.0, rotation=2.0), "b": site(1, loss=5.0), "c": site(0)})
    assert record["global"] == {"loss": 2.0, "rotation": 2.0}


def test_dice_does_not_favour_the_class_that_most_sites_have_annotated() -> None:
    """Three sites annotate nothing but the easy liver, so the mean of the sites' own Dice would hide the spleen."""
    livers = {f"liver_{n}": site(4, dice=0.9, dice_liver=0.9) for n in range(3)}
    both = {"both": site(4, dice=0.5, dice_liver=0.9, dice_spleen=0.1)}
    found = round_record(2, "ok", {**livers, **both})["global"]
    assert found == pytest.approx({"dice": 0.5, "dice_liver": 0.9, "dice_spleen": 0.1})


def test_where_all_sites_show_all_classes_dice_is_the_mean_over_the_cases() -> None:
    sites = {"a": site(3, dice=0.5, dice_x=0.4, dice_y=0.6), "b": site(1, dice=0.9, dice_x=1.0, dice_y=0.8)}
    assert round_record(0, "initial", sites)["global"]["dice"] == pytest.approx((3 * 0.5 + 0.9) / 4)


def test_a_class_that_no_validation_case_shows_is_left_out() -> None:
    found = round_record(0, "initial", {"a": site(2, dice=0.5, dice_x=0.5, dice_y=None)})["global"]
    assert found == {"dice": 0.5, "dice_x": 0.5}
