"""The table says what was measured, what was not and why, and which bars are met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fedswin.benchmarks.record import record
from fedswin.benchmarks.row import Bar, Growth, Row
from fedswin.benchmarks.setup import NO_GPU, Setup
from fedswin.benchmarks.table import render

BARS = (Bar("ratio", 1.5, at_least=True), Bar("ours", 0.5, at_least=False))
STEP = Row("step", "a step [small]", "speed", "views/s", [2.0, 3.0, 4.0], "plain", [1.0, 1.0, 4.0], BARS)
ROWS = (STEP, Row("step", "a step on a GPU", not_measured=NO_GPU), Row("load", "a case", "speed", "s", [0.25]))


def lines(rows: Sequence[Row], *, quick: bool, width: int = 160) -> list[list[str]]:
    """What is in the table, a list of words a line."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(render(rows, quick=quick))
    return [line.split() for line in capture.get().splitlines() if line.strip()]


def test_a_row_has_medians_the_spread_of_the_ratios_and_its_bars() -> None:
    _, title, first, second, *_ = lines(ROWS, quick=False)
    assert title == ["step:", "a", "step", "[small]"]
    figures = ["speed", "3.00", "views/s", "1.00", "views/s,", "plain", "2.00", "(1.00–3.00)"]
    assert first == [*figures, "ratio", "≥", "1.50", "met"]
    assert second == ["FedSwin", "≤", "0.500", "missed"]


def test_a_bar_is_whole_on_a_narrow_terminal() -> None:
    words = [word for line in lines(ROWS, quick=False, width=80) for word in line]
    assert [word for word in words if word in ("1.50", "met", "0.500", "missed")] == ["1.50", "met", "0.500", "missed"]


def test_a_quick_run_meets_and_misses_nothing() -> None:
    words = [word for line in lines(ROWS, quick=True) for word in line]
    assert "≥" in words
    assert not {"met", "missed"} & set(words)


def test_what_is_not_measured_says_why() -> None:
    table = lines(ROWS, quick=False)
    at = table.index(["step:", "a", "step", "on", "a", "GPU"])
    assert table[at + 1] == ["not", "measured", *NO_GPU.split()]


def test_the_record_holds_every_sample_and_no_path(tmp_path: Path) -> None:
    setup = Setup(tmp_path, repeats=3, threads=2, data=tmp_path / "Hospital of St Anne")
    failed = Row("step", "a step", not_measured=f"{setup.data}/ct.nii.gz cannot be read")
    text = json.dumps(record([*ROWS, failed], setup))
    assert "Anne" not in text
    assert str(tmp_path) not in text
    found = json.loads(text)
    assert found["machine"]["cores"] >= 1
    assert found["threads"] == 2
    step, gpu, *_ = found["rows"]
    assert step["ours"] == [2.0, 3.0, 4.0]
    assert step["ratios"] == [2.0, 3.0, 1.0]
    assert step["met"] == [True, False]
    assert (gpu["ours"], gpu["not_measured"]) == ([], NO_GPU)


def test_a_growth_of_a_cost_is_the_inverse_of_a_speed() -> None:
    assert Growth("A step", "sites", 2, "seconds", work=4.0).cost(0.5) == 8.0
    assert Growth("A step", "sites", 2, "MB").cost(0.5) == 0.5
