"""What is shown of a study: how far each site is, and the time left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from end_to_end import tiny
from fedswin.operations import progress as module
from fedswin.operations.progress import StudyProgress
from fedswin.run_folder import RunFolder, write_job
from fedswin.run_lock import lock_run
from fedswin.training.journal import Journal
from learning import AT_CHANCE, learning_record

JOB = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 2, "local_steps": 10}})


def test_the_time_left_follows_the_steps_of_all_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    write_job(tmp_path, JOB)
    journals = {name: Journal(tmp_path / name) for name in "ab"}
    shown = StudyProgress(JOB, tmp_path, {name: tmp_path / name for name in "ab"}, Console(file=io.StringIO()))
    now = 130.0  # starting up says nothing of the speed
    journals["a"].write("training", 0, step=2, of=10, loss=1.0)
    journals["b"].write("training", 0, step=2, of=10, loss=1.0)
    shown.update()
    assert shown._clock() == "0:30 min so far"
    now = 140.0  # 8 more of the 40 steps in 10 s: the other 28 take 35 s
    journals["a"].write("training", 0, step=6, of=10, loss=1.0)
    journals["b"].write("training", 0, step=6, of=10, loss=1.0)
    assert shown._clock() == "0:40 min so far, about 0:35 min left"
    journals["a"].write("waiting", 1)
    journals["b"].write("waiting", 1)
    assert shown._clock() == "0:40 min so far"


def test_a_terminal_shows_each_sites_step_and_loss(tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    folder = tmp_path / "sites" / "a"
    Journal(folder).write("training", 1, step=3, of=10, loss=0.5)
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with lock_run(tmp_path), StudyProgress(JOB, tmp_path, {"a": folder}, console):
        pass
    text = console.file.getvalue()
    for words in ("round 2 of 2", "training 3/10", "0.5000"):
        assert words in text


def test_a_run_at_chance_is_warned_of_once_under_its_lines(tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    console = Console(file=io.StringIO(), width=200)
    shown = StudyProgress(JOB, tmp_path, {"a": tmp_path / "sites" / "a"}, console)
    run = RunFolder(tmp_path, JOB)
    for number in range(3):
        run.close_round(learning_record(number, **AT_CHANCE), {})
        shown.update()
    shown.update()
    kinds = [line.split()[0] for line in console.file.getvalue().splitlines()]
    assert kinds == ["round", "rotation", "round", "rotation", "round", "rotation", "Warning:"]
