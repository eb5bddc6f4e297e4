"""The charts of runs: whose values stand where."""

from __future__ import annotations

import re
from pathlib import Path

from end_to_end import tiny
from fedswin.records import round_record
from fedswin.report.curves import comparison_chart, score_charts
from fedswin.report.facts import gather
from report import runs
from report.runs import FINETUNE, write_run


def test_the_curves_of_runs_with_other_steps_are_whole(tmp_path: Path) -> None:
    """Steps of 10 and 7, and a record without a score, which is a gap in its own line alone."""
    for steps in (10, 7):
        job = tiny.job({**FINETUNE.as_dict(), "federation": {"rounds": 4, "local_steps": steps}})
        scores = {n: {"a": runs.site({"liver": n / 10, "spleen": 0.2})} for n in range(5) if (steps, n) != (7, 2)}
        records = [round_record(n, "ok" if n else "initial", scores.get(n, {})) for n in range(5)]
        write_run(tmp_path / f"of_{steps}", job, records)
    chart = comparison_chart([group.runs[0] for group in gather([tmp_path / "of_10", tmp_path / "of_7"])])
    assert chart
    assert [re.sub(r"[\d. ]+", "", line.path) for line in chart.lines] == ["MLLLL", "MLML"]
    assert [row[0] for row in chart.rows] == ["0", "7", "10", "14", "20", "21", "28", "30", "40"]


def test_only_a_federation_has_a_global_model(tmp_path: Path) -> None:
    names = {}
    for command in ("simulate", "train"):
        records = [round_record(0, "initial", {"a": runs.site({"liver": 0.1, "spleen": 0.2})})]
        [group] = gather([write_run(tmp_path / command, FINETUNE, records, command=command, sites=["a"])])
        dice, classes = score_charts(group.runs[0])
        names[command] = [dice.lines[0].name, classes.title.rpartition(", ")[2]]
    assert names == {"simulate": ["global model"] * 2, "train": ["model"] * 2}
