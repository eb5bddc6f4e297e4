"""The line about a global model: the scores of all sites as one, and lines that are whole wherever a writer stops."""

from __future__ import annotations

import itertools
import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from fedswin.records import METRICS, read_records, round_record
from fedswin.training.scores import validation_of


def site(cases: int, **metrics: float | None) -> dict[str, object]:
    return {"metrics": metrics, "validation_cases": cases}


def test_each_metric_is_the_mean_over_the_sites_that_have_it() -> None:
    record = round_record(1, "ok", {"a": site(3, loss=1.0, rotation=2.0), "b": site(1, loss=5.0), "c": site(0)})
    assert record["global"] == {"loss": 2.0, "rotation": 2.0}


def test_the_mean_is_the_same_in_any_order_of_the_sites() -> None:
    sites = {name: site(1, loss=loss) for name, loss in {"a": 0.1, "b": 0.2, "c": 0.3}.items()}
    orders = [round_record(1, "ok", dict(order))["global"] for order in itertools.permutations(sites.items())]
    assert all(found == orders[0] for found in orders)


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


def test_the_pooled_score_is_that_of_all_cases_in_one_place() -> None:
    """Site a has four cases, one of which shows class x; site b has two, which both do."""
    x, y = {"a": [0.9], "b": [0.1, 0.2]}, {"a": [0.5, 0.6, 0.7, 0.8], "b": [0.3, 0.4]}
    cases = {name: [*zip_longest(x[name], y[name])] for name in x}
    found = round_record(1, "ok", {name: scored_site(pairs) for name, pairs in cases.items()})
    assert found["pooled"] == {"dice_x": pytest.approx(1.2 / 3), "dice": pytest.approx((1.2 / 3 + 3.3 / 6) / 2)}
    assert found["global"]["dice_x"] == pytest.approx((4 * 0.9 + 2 * 0.15) / 6)
    assert found["global"]["dice_y"] == pytest.approx(3.3 / 6)


def scored_site(pairs: list[tuple[float | None, float | None]]) -> dict[str, Any]:
    found = validation_of([{"dice_x": a, "dice_y": b} for a, b in pairs])
    return {**found._asdict(), "validation_cases": len(pairs)}


def test_nothing_is_pooled_where_every_case_has_every_score() -> None:
    assert "pooled" not in round_record(1, "ok", {"a": site(3, loss=1.0), "b": site(1, loss=5.0)})


def test_records_are_read_whole_wherever_their_writer_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    lines = [json.dumps(round_record(number, "ok", {})).encode() + b"\n" for number in range(2)]
    content = b"".join(lines)
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert [record["round"] for record in read_records(tmp_path)] == list(range(whole))
        path.write_bytes(content[:cut] + b"\n" + lines[0])
        assert [record["round"] for record in read_records(tmp_path)][-1] == 0
