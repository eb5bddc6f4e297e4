"""What a page says of rows: drawn by rule, and never of encoders that are not known to have learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.studies import CELL, fixed, row, write_plan
from fedswin.experiments.cells import Cell, cells_of, key_of
from fedswin.experiments.conclusions import conclusions
from fedswin.experiments.learning import with_later_verdicts
from fedswin.experiments.plan import Plan
from fedswin.experiments.results import render_results
from fedswin.experiments.rows import Row, write_rows
from fedswin.experiments.summary import summarize, varying_axes

VERDICTS = ("ahead", "behind", "no difference")


def rows_of(plan: Plan, gain: dict[str, float], encoder: dict[str, str]) -> list[Row]:
    """Return a row for each cell: patients of two hospitals at 0.5, and ``gain`` more in each arm."""
    return [arm_row(plan, cell, 0.5 + gain.get(cell.arm, 0.0), encoder.get(cell.arm, "")) for cell in cells_of(plan)]


def arm_row(plan: Plan, cell: Cell, dice: float, encoder: str) -> Row:
    cases = {f"{site}/{number}": dice + 0.001 * number for site in "ab" for number in range(5)}
    of = row(cell, cases, key_of(plan, cell), encoder, dice_area=dice / 2, worst_site_dice=dice)
    return replace(of, hd95={name: 10 * (1 - value) for name, value in cases.items()})


def told(plan: Plan, rows: Sequence[Row]) -> list[str]:
    rows = with_later_verdicts(plan, rows)
    return conclusions(plan, summarize(rows, plan.settings.end_points), varying_axes(rows))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return write_plan(tmp_path, **fixed(end_points=["dice", "hd95"]))


def test_an_arm_is_ahead_or_behind_by_its_interval_and_of_distances_less_is_better(plan: Plan) -> None:
    gain = {"federated": 0.1, "central": -0.1}
    said = told(plan, rows_of(plan, gain, dict.fromkeys(("local", "federated", "central"), "learns")))
    assert said == [
        "Dice, **local**: +0.000 against scratch (+0.000 to +0.000; 4 runs, 10 patients): no difference is shown.",
        "Dice, **federated**: +0.100 against scratch (+0.100 to +0.100; 4 runs, 10 patients): ahead.",
        "Dice, **central**: −0.100 against scratch (−0.100 to −0.100; 4 runs, 10 patients): behind.",
        "HD95 in mm, **local**: +0.0 against scratch (+0.0 to +0.0; 4 runs, 10 patients): no difference is shown.",
        "HD95 in mm, **federated**: −1.0 against scratch (−1.0 to −1.0; 4 runs, 10 patients): ahead.",
        "HD95 in mm, **central**: +1.0 against scratch (+1.0 to +1.0; 4 runs, 10 patients): behind.",
    ]


@pytest.mark.parametrize("verdict", ["at chance", "collapsed", "not known", ""])
def test_of_an_arm_whose_encoder_has_not_learned_nothing_is_concluded(plan: Plan, tmp_path: Path, verdict: str) -> None:
    """The gain is large and the same in every run, so that any rule that looks at it would tell of it."""
    rows = rows_of(plan, {"federated": 0.3}, {"local": "learns", "central": "learns", "federated": verdict})
    write_rows(tmp_path / "plan.csv", rows)
    page = render_results([plan], tmp_path, tmp_path / "page.md")
    said = [line for line in page.split("\n") if line.startswith("- ") and "**federated" in line]
    assert len(said) == 1
    assert said[0].endswith("no conclusion is drawn from it.")
    assert not any(word in said[0] for word in VERDICTS)
    remark = {"": "learning not recorded", "not known": "learning not known"}.get(verdict, f"encoder {verdict}")
    assert f"| federated ({remark}) |" in page
    assert f"**federated ({remark})**" in said[0]
    assert "**central**: +0.000" in page  # of the others it is


def test_one_of_several_encoders_at_chance_is_enough(plan: Plan) -> None:
    rows = rows_of(plan, {"federated": 0.3}, dict.fromkeys(("local", "federated", "central"), "learns"))
    bad = next(n for n, r in enumerate(rows) if r.cell.arm == "federated")
    rows[bad] = replace(rows[bad], about={**rows[bad].about, "encoder": "at chance"})
    said = [sentence for sentence in told(plan, rows) if "federated" in sentence]
    assert said == ["**federated (encoder at chance in 1 of 4 runs)**: no conclusion is drawn from it."]


@pytest.mark.parametrize(
    ("changes", "encoder", "sentence"),
    [
        (
            {"encoders": "at_chance"},
            "",
            "were at chance, as was measured after the rows had been recorded, so",
        ),
        ({}, "at chance", "The encoders of these rows were at chance, so they say nothing about the method."),
        ({}, "", "Whether the encoders of these rows had learned anything was not recorded, so no conclusion"),
    ],
)
def test_where_no_encoder_has_learned_that_is_all_that_is_said(
    tmp_path: Path, changes: dict[str, Any], encoder: str, sentence: str
) -> None:
    plan = write_plan(tmp_path, **fixed(**changes))
    rows = rows_of(plan, {"federated": 0.3}, dict.fromkeys(("local", "federated", "central"), encoder))
    [said] = told(plan, rows)
    assert sentence in said


def test_of_one_seed_nothing_is_concluded(tmp_path: Path) -> None:
    for changes in ({"encoder_seeds": [0]}, {"finetune_seeds": [0]}):
        plan = write_plan(tmp_path, arms=["scratch", "federated"], **fixed(**changes))
        [said] = told(plan, rows_of(plan, {"federated": 0.3}, {"federated": "learns"}))
        assert said.endswith(": one seed, so no conclusion.")


def test_of_one_patient_nothing_is_concluded(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, arms=["scratch", "federated"], **fixed())
    rows = rows_of(plan, {"federated": 0.3}, {"federated": "learns"})
    [said] = told(plan, [replace(found, cases={"a/1": found.cases["a/1"]}) for found in rows])
    assert said.endswith("4 runs, 1 patients): one patient, so no conclusion.")


def test_a_probe_is_told_apart_and_compared_with_a_random_encoder(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, arms=["scratch", "federated"], labels=[1, "all"], **fixed(frozen=[False, True]))
    said = told(plan, rows_of(plan, {"federated": 0.1}, {"federated": "learns"}))
    assert [sentence.partition(" (")[0] for sentence in said] == [
        "Dice, **federated**, labels a site 1, encoder fine-tuned: +0.100 against scratch",
        "Dice, **federated**, labels a site all, encoder fine-tuned: +0.100 against scratch",
        "Dice, **federated**, labels a site 1, encoder frozen: +0.100 against a frozen random encoder",
        "Dice, **federated**, labels a site all, encoder frozen: +0.100 against a frozen random encoder",
    ]


def test_from_scratch_alone_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert told(write_plan(tmp_path), [row(CELL, {"a/1": 0.5})]) == []
