"""The tables: what is flagged, and what stands where nothing is known."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from end_to_end import tiny
from fedswin.outcome import Outcome
from fedswin.records import round_record
from fedswin.report import tables
from fedswin.report.facts import RunFacts, gather
from report import runs
from report.runs import FINETUNE, write_run


def gathered(folder: Path, **provenance: object) -> RunFacts:
    [group] = gather([write_run(folder, FINETUNE, runs.three_sites(), **provenance)])
    return group.runs[0]


def test_scores_name_the_worst_site_and_the_worst_class(tmp_path: Path) -> None:
    table = tables.scores_table(gathered(tmp_path))
    assert table.columns == ["metric", "all sites", "a", "b", "c"]
    assert table.rows[0] == ["validation cases", "5", "1", "3", "1"]
    assert table.rows[1] == ["Dice", "0.690", "0.800", "0.600", "0.850"]
    assert {table.rows[row][column] for row, column in table.worst} == {"0.600", "0.540"}


def test_the_mean_over_cases_stands_beside_that_over_sites_where_they_differ(tmp_path: Path) -> None:
    """The spleen is defined in 1 of the 4 cases of b, whose other cases count for nothing in the mean over cases."""
    sites = {
        "a": runs.site({"liver": 0.5, "spleen": 0.8}, 4),
        "b": runs.site({"liver": 0.5, "spleen": 0.4}, 4, scored={"dice_spleen": 1}),
    }
    [group] = gather([write_run(tmp_path, FINETUNE, [round_record(0, "initial", sites)], sites=["a", "b"])])
    rows = {row[0]: row[1:] for row in tables.scores_table(group.runs[0]).rows}
    assert rows["Dice of spleen"] == ["0.600", "0.800", "0.400 (n\u00a0=\u00a01)"]
    assert rows["Dice of spleen, over cases"][0] == f"{(4 * 0.8 + 0.4) / 5:.3f}"


def test_many_sites_are_rows(tmp_path: Path) -> None:
    scores = {f"site_{n}": runs.site({"liver": 0.5 + n / 100, "spleen": 0.5}) for n in range(12)}
    [group] = gather([write_run(tmp_path, FINETUNE, [round_record(0, "initial", scores)], sites=list(scores))])
    table = tables.scores_table(group.runs[0])
    assert len(table.rows) == 13
    assert list(table.columns) == ["metric", "validation cases", "Dice", "Dice of liver", "Dice of spleen"]
    assert {(table.rows[row][0], table.columns[column]) for row, column in table.worst} == {
        ("site_0", "Dice"),
        ("all sites", "Dice of spleen"),
    }


def test_traffic_names_the_slowest_site_and_the_sums(tmp_path: Path) -> None:
    table = tables.traffic_table(gathered(tmp_path))
    assert table.columns == ["site", "training", "training, a round", "sent", "received"]
    assert table.rows == [
        ["a", "1 min 30 s", "30.0 s", "6.00 MB", "3.00 MB"],
        ["b", "1 min 20 s", "40.0 s", "4.00 MB", "2.00 MB"],
        ["c", "0 s", "–", "0 kB", "0 kB"],
        ["all sites", "2 min 50 s", "–", "10.0 MB", "5.00 MB"],
    ]
    assert (table.worst, table.flag) == ({(1, 2)}, "slowest")


def test_labels_by_class_and_site(tmp_path: Path) -> None:
    """The site b has no case with the spleen; c has told nothing."""
    sites = {"a": {"labels": {"liver": 4, "spleen": 2}}, "b": {"labels": {"liver": 3}}}
    table = tables.labels_table(gathered(tmp_path, sites=sites))
    assert table
    assert table.rows == [["liver", "4", "3", "–"], ["spleen", "2", "0", "–"]]


def test_the_same_refusal_in_several_rounds_is_one_row(tmp_path: Path) -> None:
    records = [round_record(n, "ok", {}, refused=[{"site": "c", "reason": "NaN"}]) for n in (1, 2, 4)]
    [group] = gather([write_run(tmp_path, FINETUNE, records)])
    table = tables.refusals_table(group.runs[0])
    assert table
    assert table.rows == [["c", "1–2, 4", "NaN"]]


def test_what_a_site_missed(tmp_path: Path) -> None:
    rows = tables.attendance_rows({"c": {1: "late", 2: "refused", 3: "missing", 4: "missing"}})
    assert rows == {"c": {"scored": "", "late": "1", "refused": "2", "missing": "3–4", "absent": ""}}


def test_many_rounds_missed_are_counted(tmp_path: Path) -> None:
    [rows] = tables.attendance_rows({"c": dict.fromkeys(range(1, 40, 2), "missing")}).values()
    assert rows["missing"] == "20 rounds"


def write_folds(folder: Path, scores: Sequence[float | None]) -> Path:
    for fold, dice in enumerate(scores):
        job = tiny.job({**tiny.FINETUNE, "data": {**tiny.FINETUNE["data"], "fold": fold}})
        scored = {} if dice is None else {"a": runs.site({"lump": dice}, fold + 1)}
        records = [round_record(0, "initial", scored)]
        write_run(folder / f"fold{fold}", job, records, sites={"a": {"cases": {"training": 8 + fold % 2}}})
    return folder


def test_cross_validations_side_by_side(tmp_path: Path) -> None:
    paths = [write_folds(tmp_path / "with", [0.5, 0.6, 0.8]), write_folds(tmp_path / "without", [0.4, None, 0.5])]
    alone = write_run(tmp_path / "alone", FINETUNE, [round_record(0, "initial", {"a": runs.site({"liver": 0.4})})])
    table = tables.comparison_table(gather([*paths, alone]))
    means = [(statistics.mean(scores), statistics.stdev(scores)) for scores in ([0.5, 0.6, 0.8], [0.4, 0.5])]
    assert [row[:1] + row[3:4] + row[5:] for row in table.rows] == [
        ["with", "8–9", "0", f"{means[0][0]:.3f} ± {means[0][1]:.3f} (3 folds)", "6"],
        ["without", "8–9", "0", f"{means[1][0]:.3f} ± {means[1][1]:.4f} (2 of 3 folds)", "4"],
        ["alone", "–", "0", "0.400", "1"],
    ]
    assert table.note == "±: the standard deviation over folds."


def test_the_spread_of_overflown_losses_is_not_known(tmp_path: Path) -> None:
    for fold, loss in enumerate([-1.75e308, 1.75e308]):
        losses = {"a": {"metrics": {"loss": loss}, "validation_cases": 1}}
        job = tiny.job({**tiny.PRETRAIN, "data": {**tiny.PRETRAIN["data"], "fold": fold}})
        write_run(tmp_path / f"fold{fold}", job, [round_record(0, "initial", losses)])
    [group] = gather([tmp_path])
    assert [row[3] for row in tables.folds_table(group.runs).rows] == ["−1.75e308", "1.75e308", "0.00", "–"]


def test_the_mean_and_the_spread_over_the_folds(tmp_path: Path) -> None:
    write_folds(tmp_path, [0.5, 0.6, 0.8])
    [group] = gather([tmp_path])
    table = tables.folds_table(group.runs)
    assert [row[0] for row in table.rows] == ["fold0", "fold1", "fold2", "mean", "standard deviation"]
    assert [row[3] for row in table.rows[:3]] == ["0.500", "0.600", "0.800"]
    assert table.rows[3][3] == f"{statistics.mean([0.5, 0.6, 0.8]):.3f}"
    assert table.rows[4][3] == f"{statistics.stdev([0.5, 0.6, 0.8]):.3f}"


def test_runs_side_by_side(tmp_path: Path) -> None:
    done = Outcome("completed", 3, "")
    write_run(tmp_path / "together", FINETUNE, runs.three_sites(), ended=done)
    alone = [round_record(1, "ok", {"a": runs.site({"liver": 0.4, "spleen": 0.2}, **runs.trained(1.0))})]
    write_run(tmp_path / "alone", FINETUNE, alone, command="train", sites=["a"])
    table = tables.comparison_table(gather([tmp_path / "together", tmp_path / "alone"]))
    assert table.note == ""
    assert table.rows == [
        ["together", "federated", "a, b and c", "8", "30", "2", "0.690", "5"],
        ["alone", "one site alone", "a", "4", "10", "1", "0.300", "1"],
    ]
