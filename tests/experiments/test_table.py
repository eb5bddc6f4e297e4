"""The tables: a line for each configuration, and nothing that says nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from experiments.studies import CELL, row
from fedswin.experiments.rows import Row
from fedswin.experiments.summary import summarize, varying_axes
from fedswin.experiments.table import case_table, class_table, table

FEDERATED = replace(CELL, arm="federated", objective="inpainting", cases="all")
COSTS = {"pretraining_steps": 0, "pretraining_samples": 0, "finetuning_steps": 6, "finetuning_samples": 12}
ROWS = [
    row(CELL, {"a/1": 0.25, "b/1": 0.75}, hd95=12.34, nsd=0.5, **COSTS),
    row(
        FEDERATED,
        {"a/1": 0.5, "b/1": 0.5},
        encoder="learns",
        hd95=2.0,
        nsd=0.5,
        **{**COSTS, "pretraining_steps": 4, "pretraining_samples": 24, "pretraining_megabytes_per_round": 8.25},
    ),
]


def parsed(table_of: Callable[..., str], rows: Sequence[Row]) -> list[dict[str, str]]:
    text = table_of(summarize(rows), varying_axes(rows))
    headings, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n")]
    assert len(set(headings)) == len(headings)
    return [dict(zip(headings, line, strict=True)) for line in lines]


def test_a_line_says_scores_sites_the_worst_of_them_and_the_gain() -> None:
    scratch, federated = parsed(table, ROWS)
    assert scratch["arm"] == "scratch"
    assert (scratch["Dice"], scratch["− scratch"], scratch["95 % interval"]) == ("0.500", "–", "–")
    assert (scratch["a"], scratch["b"], scratch["worst site"]) == ("0.250", "0.750", "0.250 a")
    assert (scratch["HD95, mm"], scratch["NSD"]) == ("12.3", "0.500")
    assert federated["− scratch"] == "+0.000; better in 1 of 2 cases, 0 of 1 runs"
    assert federated["pre-training: steps"] == "4"
    assert federated["pre-training: sub-volumes"] == "24"
    assert federated["pre-training: MB a site and round"] == "8.2"
    assert federated["fine-tuning: sub-volumes"] == "12"
    assert federated["fine-tuning: MB a site and round"] == "–"


def test_an_interval_is_told_of_encoders_that_have_learned_alone() -> None:
    known = {
        "learns": "federated",
        "at chance": "federated (encoder at chance)",
        "": "federated (learning not recorded)",
    }
    for verdict, arm in known.items():
        rows = [row(CELL, {"a/1": 0.25}), row(FEDERATED, {"a/1": 0.5}, encoder=verdict)]
        line = parsed(table, rows)[1]
        assert (line["arm"], line["95 % interval"]) == (arm, "+0.250 to +0.250" if verdict == "learns" else "–")


def test_what_only_new_rows_record_has_a_column_if_one_has_it() -> None:
    figures = {"encoder_rotation_accuracy": 0.4, "encoder_rotation_accuracy_bound": 0.3, "encoder_feature_rank": 7.0}
    frozen = replace(FEDERATED, frozen=True, seed=3, encoder_seed=5)
    told = row(frozen, {"a/1": 0.5}, encoder="learns", dice_area=0.25, worst_site_dice=0.125, **figures)
    assert not {"area under Dice by step", "worst site of a run", "learned"} & parsed(table, ROWS)[0].keys()
    line = parsed(table, [*ROWS, told])[2]
    assert (line["encoder"], line["seeds"]) == ("frozen", "3; encoders 5")
    assert (line["area under Dice by step"], line["worst site of a run"]) == ("0.250", "0.125")
    assert line["learned"] == "rotation accuracy 0.40, at least 0.30, rank 7.0"


def test_hd_has_a_column_where_rows_have_it() -> None:
    """Rows that were recorded before it was measured do not."""
    assert "HD, mm" not in parsed(table, ROWS)[0]
    measured = replace(ROWS[0], measures={**ROWS[0].measures, "hd": 56.78})
    assert [line["HD, mm"] for line in parsed(table, [measured, ROWS[1]])] == ["56.8", "–"]


def test_of_one_site_there_is_no_column_and_none_is_the_worst() -> None:
    headings = parsed(table, [row(CELL, {"a/1": 0.25})])[0]
    assert "a" not in headings
    assert "worst site" not in headings


def test_who_pre_trained_alone_is_named() -> None:
    local = row(replace(FEDERATED, arm="local"), {"a/1": 0.5}, encoder="learns")
    lines = parsed(table, [ROWS[0], replace(local, about={**local.about, "alone": "a"})])
    assert [line["arm"] for line in lines] == ["scratch", "local at a"]


def test_several_seeds_have_a_deviation() -> None:
    rows = [row(replace(CELL, seed=seed), {"a/1": dice}) for seed, dice in ((0, 0.2), (1, 0.4))]
    [line] = parsed(table, rows)
    assert (line["seeds"], line["Dice"]) == ("0 1", "0.300 ± 0.141")


def test_every_case_has_its_column() -> None:
    scratch, federated = parsed(case_table, [*ROWS, row(replace(FEDERATED, seed=1), {"a/2": 1.0}, encoder="learns")])
    assert scratch == {"arm": "scratch", "a/1": "0.250", "a/2": "–", "b/1": "0.750"}
    assert federated == {"arm": "federated", "a/1": "0.500", "a/2": "1.000", "b/1": "0.500"}


def test_every_class_has_its_column_if_there_are_several() -> None:
    with_classes = [replace(r, classes={"liver": 0.25, "aorta": 0.75}) for r in ROWS]
    assert parsed(class_table, with_classes)[0] == {"arm": "scratch", "liver": "0.250", "aorta": "0.750"}
    assert class_table(summarize(ROWS), ["arm"]) == ""
