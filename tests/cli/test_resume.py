"""Going on with what was stopped: refused in words where there is nothing to go on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.study import FINETUNE, PRETRAIN, Command
from end_to_end import tiny
from fedswin.outcome import Outcome, write_outcome
from fedswin.run_folder import start_run, write_job

SITES = ["--data", "the sites"]


@pytest.mark.parametrize("command", ["simulate", "train"])
def test_what_is_no_run_is_not_resumed(study: Path, fedswin: Command, command: str) -> None:
    code, _, error = fedswin(command, PRETRAIN, *SITES, "--out", "none", "--resume")
    assert (code, "holds no run to resume" in error) == (1, True), error
    assert not Path("none").exists()


@pytest.mark.parametrize("setting", ["seed=1", "federation.rounds=9"])
def test_the_run_of_another_job_is_not_resumed(study: Path, fedswin: Command, setting: str) -> None:
    start_run(Path("run"), tiny.job(tiny.PRETRAIN))
    code, _, error = fedswin("simulate", PRETRAIN, *SITES, "--out", "run", "--resume", "--set", setting)
    assert (code, "another job. Resume it with its own job file, run/job.yaml" in error) == (1, True), error


def test_a_finished_simulation_is_left_as_it_is(study: Path, fedswin: Command) -> None:
    start_run(Path("run"), tiny.job(tiny.PRETRAIN))
    write_outcome(Path("run"), Outcome("completed", 2, "All 2 rounds are done."))
    before = sorted(path.stat().st_mtime_ns for path in Path("run").iterdir())
    code, printed, _ = fedswin("simulate", PRETRAIN, *SITES, "--out", "run", "--resume")
    assert (code, "run is finished, so there is nothing to resume" in printed) == (0, True)
    assert sorted(path.stat().st_mtime_ns for path in Path("run").iterdir()) == before


def test_a_study_either_starts_from_weights_or_goes_on(study: Path, fedswin: Command) -> None:
    options = ["--kit", "kit", "--init", "weights.pt", "--resume", "id"]
    code, _, error = fedswin("submit", FINETUNE, *options)
    assert (code, "--init starts a study and --resume goes on with one" in error) == (1, True), error


def test_what_a_kit_keeps_is_listed_and_deleted(study: Path, fedswin: Command) -> None:
    write_job(Path("studies/8e9a3f2c"), tiny.job(tiny.PRETRAIN))
    _, printed, _ = fedswin("studies", "studies", "--delete-idle", "1")
    assert "8e9a3f2c" in printed
    assert "tiny_pretrain" in printed
    assert "deleted" not in printed
    _, printed, _ = fedswin("studies", "studies", "--delete", "8e9a3f2c")
    assert "deleted" in printed
    assert list(Path("studies").iterdir()) == []
    code, _, error = fedswin("studies", "nowhere")
    assert (code, "nowhere does not exist" in error) == (1, True)
