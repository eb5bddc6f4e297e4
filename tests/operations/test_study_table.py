"""How a study looks: what fits a small window, and what is left of a curve that is longer than its place."""

from __future__ import annotations

import io
import sys
from statistics import fmean

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.live import Live

from end_to_end import tiny
from fedswin.config import Job
from fedswin.operations.study_table import StudyTable, duration, record_line, sparkline
from fedswin.operations.study_view import Step, StudyView
from fedswin.records import Record, round_record
from fedswin.status import Doing, Status
from learning import COLLAPSED, learning_record

JOB = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 900}})
SITES = [f"hospital_{number:02d}" for number in range(20)]


def record(number: int, **more: object) -> Record:
    site = {"metrics": {"loss": 3.0 - number / 900}, "validation_cases": 1, "train": {"loss": 3.5 - number / 900}}
    sizes = {"bytes_up": 250_000_000, "bytes_down": 250_000_000}
    return round_record(number, "ok" if number else "initial", {name: {**site, **sizes} for name in SITES}, **more)


def long_study(**states: Doing) -> StudyView:
    """A study of 900 rounds and 20 sites in its 451st round, all training but those with a state of their own."""
    refused = [{"site": "hospital_07", "reason": "its norm, 12.1, is more than federation.max_norm allows"}]
    records = [*(record(number) for number in range(450)), record(450, refused=refused, missing=["hospital_03"])]
    doing: dict[str, Doing] = {name: states.get(name, "training") for name in SITES}
    steps = {name: Step(123, 500, 2.9) for name in SITES}
    status = Status(450, doing, dict.fromkeys(SITES, 1000.0), 600.0, started=1000.0 - 450 * 600, began=1000.0)
    return StudyView(JOB, records, status, "", steps=steps, now=1100.0)


def screen(view: StudyView, lines: int | None, width: int = 80, job: Job = JOB) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=24, soft_wrap=True)
    console.print(StudyTable(view, lines))
    return console.file.getvalue().splitlines()


def test_a_long_study_of_many_sites_fits_a_small_window() -> None:
    view = long_study(hospital_03="gone", hospital_07="refused", hospital_19="late", hospital_02="waiting")
    text = screen(view, 24)
    assert len(text) < 24
    assert max(map(len, text)) <= 80
    assert text[0] == "tiny_pretrain: round 451 of 900, 3 d 3 h so far, about 3 d 2 h left"
    first = [line.split()[0:2] for line in text[3:7]]
    assert first == [
        ["hospital_03", "gone"],
        ["hospital_07", "refused"],
        ["hospital_19", "late"],
        ["hospital_00", "training"],
    ]
    assert text[6].split()[2:5] == ["123/500", "1:40", "2.9000"]
    assert [line for line in text if "and 2 more: 1 training, 1 waiting" in line]
    assert text[-1].startswith("Round 450: no answer in time from hospital_03; the update of hospital_07")


@pytest.mark.parametrize("lines", [25, None])
def test_every_site_is_shown_where_there_is_room(lines: int | None) -> None:
    text = screen(long_study(), lines)
    assert [line.split()[0] for line in text if line.startswith("hospital")] == SITES


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_is_longer_than_the_window(width: int) -> None:
    assert max(map(len, screen(long_study(), 24, width))) <= width


def test_what_to_type_next_is_shown_whole() -> None:
    ended = "FINISHED:COMPLETED. 'fedswin fetch a4f69897-e36a-46c6-8967-8dfd670c24d5' brings the result."
    console = Console(file=io.StringIO(), width=80, soft_wrap=True, force_terminal=True)
    with Live(StudyTable(StudyView(JOB, [], None, ended)), console=console, auto_refresh=False):
        pass
    assert "brings the result." in " ".join(console.file.getvalue().split())


def test_what_is_not_known_is_left_empty() -> None:
    nothing = {"metrics": {"loss": None}, "train": {}, "bytes_up": None}
    made = round_record(1, "failed", {"a": nothing, "b": {}}) | {"global": {"loss": None}}
    view = StudyView(JOB, [made], None, "")
    assert "loss: no model has been scored yet" in screen(view, 24)
    assert record_line(JOB, made) == "round   1 of 900: validation loss not scored (FAILED, the old model stays)"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(59.9, "0:59 min"), (3599, "59:59 min"), (3600, "1:00 h"), (86399, "23:59 h"), (86400 * 3 + 7200, "3 d 2 h")],
)
def test_a_duration_is_in_the_units_that_a_person_would_use(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=24))
@example([0.0, sys.float_info.min / 2])
def test_a_sparkline_is_highest_where_the_values_are(values: list[float]) -> None:
    line = sparkline(values)
    assert len(line) == len(values)
    if max(values) > min(values):
        assert line[values.index(max(values))] == "█"
        assert line[values.index(min(values))] == "▁"
    ordered = sparkline(sorted(values))
    assert list(ordered) == sorted(ordered)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4), st.integers(1, 50))
def test_a_long_curve_is_drawn_as_that_of_its_means(means: list[float], repeats: int) -> None:
    values = [value for mean in means for value in [mean] * repeats]
    assert sparkline(values, len(means)) == sparkline([fmean([mean] * repeats) for mean in means])


@pytest.mark.parametrize("width", [80, 110, 200])
@pytest.mark.parametrize("lines", [10, 24])
def test_whether_a_pre_training_learns_fits_too(width: int, lines: int) -> None:
    records = [learning_record(number, **COLLAPSED) for number in range(3)]
    view = StudyView(JOB, [*records, {**learning_record(3, **COLLAPSED), "missing": ["b"]}], None, "")
    text = screen(view, lines, width)
    assert len(text) < lines
    assert max(map(len, text)) <= width
    [heads] = [number for number, line in enumerate(text) if line.startswith("site")]
    assert " ".join(" ".join(text[2:heads]).split()) == (
        "rotation 0.25 (chance 0.25), contrastive 1.00 of chance, features spread 0.0010, rank 1 of 4: collapsed "
        "Warning: after 0% of its steps, the pre-training has collapsed; so early it may recover. What to do: "
        "jobs/when_pretraining_does_not_learn.md"
    )
    assert text[-1] == "Round 3: no answer in time from b"
    assert ("pre-training" in text[heads].split()) == (width > 80)
    assert ("collapsed" in text[heads + 1].split()) == (width > 80)
