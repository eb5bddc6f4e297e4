"""What is run, in which order, and what is kept: with stand-ins for the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from experiments.studies import fixed, row, write_collection, write_plan
from fedswin.errors import FedSwinError
from fedswin.experiments import schedule
from fedswin.experiments.cells import Cell, cells_of, key_of
from fedswin.experiments.experiment import RUNS, chosen_cells, count_experiment, run_experiment
from fedswin.experiments.plan import Plan
from fedswin.experiments.rows import Row, read_rows, write_rows
from fedswin.outcome import Outcome, write_outcome
from fedswin.run_lock import lock_run

QUIET = Console(quiet=True)


class Training:
    """Stands in for pre-training and fine-tuning, and notes what it was asked for."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.done: list[str] = []
        self.fails: Callable[[str], bool] = lambda _: False

    def pretrain(self, plan: Plan, cell: Cell, sites: Path, out: Path, gpus: Sequence[int]) -> None:
        self._note(f"encoder {cell.arm} {cell.encoder_seed}")
        assert (sites / "a" / "datalist.json").exists()
        out.mkdir(parents=True, exist_ok=True)

    def finetune(
        self, plan: Plan, cell: Cell, sites: Path, encoder: Path | None, out: Path, gpus: Sequence[int]
    ) -> Row:
        self._note(f"row {cell.arm} {cell.labels} {cell.seed}")
        assert (encoder is None) == cell.starts_from_scratch
        assert encoder is None or encoder.exists()
        return row(cell, {"a/1": 0.5}, key_of(plan, cell))

    def _note(self, text: str) -> None:
        self.tried.append(text)
        if self.fails(text):
            raise FedSwinError(f"{text} cannot be.")
        self.done.append(text)


class Threads(ThreadPoolExecutor):
    """Threads in place of processes."""

    def __init__(self, workers: int, *_: Any, **__: Any) -> None:
        super().__init__(workers)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    training = Training()
    monkeypatch.setattr(schedule, "ProcessPoolExecutor", Threads)
    monkeypatch.setattr(schedule, "pretrain", training.pretrain)
    monkeypatch.setattr(schedule, "finetune", training.finetune)
    return training


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    write_collection(tmp_path / "collection", {"a": (4, 0), "b": (2, 1)}, (4, 4, 4))
    return write_plan(tmp_path, labels=[1, "all"], seeds=[0, 1], arms=["scratch", "federated"])


def test_every_run_is_made_once_and_an_encoder_before_what_starts_from_it(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    rows = run_experiment(plan, out, console=QUIET)
    assert [r.cell for r in rows] == cells_of(plan)
    assert len(training.done) == len(set(training.done)) == 2 + 8
    for seed in (0, 1):
        encoder = training.done.index(f"encoder federated {seed}")
        assert all(training.done.index(f"row federated {labels} {seed}") > encoder for labels in (1, "all"))
    assert read_rows(out / "plan.csv") == rows


def test_several_at_once_come_to_the_same(plan: Plan, training: Training) -> None:
    run_experiment(plan, plan.path.parent / "one", console=QUIET)
    run_experiment(plan, plan.path.parent / "four", workers=4, console=QUIET)
    one, four = ((plan.path.parent / name / "plan.csv").read_bytes() for name in ("one", "four"))
    assert one == four


def test_finished_runs_are_not_made_again(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    run_experiment(plan, out, cells=chosen_cells(plan, ["seed=0", "arm=scratch"]), console=QUIET)
    assert training.done == ["row scratch 1 0", "row scratch all 0"]
    run_experiment(plan, out, console=QUIET)
    assert len(training.done) == 2 + 8
    run_experiment(plan, out, console=QUIET)
    assert len(training.done) == 2 + 8


def test_rows_go_on_without_the_runs_that_they_came_from(plan: Plan, training: Training) -> None:
    out, elsewhere = (plan.path.parent / name for name in ("out", "elsewhere"))
    run_experiment(plan, out, cells=chosen_cells(plan, ["arm=scratch"]), console=QUIET)
    elsewhere.mkdir()
    (elsewhere / "plan.csv").write_bytes((out / "plan.csv").read_bytes())
    training.done.clear()
    run_experiment(plan, elsewhere, console=QUIET)
    assert not [text for text in training.done if text.startswith("row scratch")]


def test_a_run_that_fails_costs_itself_alone_and_is_made_the_next_time(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    training.fails = lambda text: text == "row federated 1 0"
    with pytest.raises(FedSwinError, match=r"Runs that failed: 1. The first was lump, .*federated.* cannot be"):
        run_experiment(plan, out, workers=2, console=QUIET)
    assert len(read_rows(out / "plan.csv")) == 7
    training.fails = lambda _: False
    training.done.clear()
    assert len(run_experiment(plan, out, console=QUIET)) == 8
    assert [text for text in training.done if text.startswith("row")] == ["row federated 1 0"]


def test_without_its_encoder_nothing_is_fine_tuned(plan: Plan, training: Training) -> None:
    training.fails = lambda text: text == "encoder federated 1"
    with pytest.raises(FedSwinError, match="Runs that failed: 1"):
        run_experiment(plan, plan.path.parent / "out", workers=2, console=QUIET)
    assert not [text for text in training.done if text.startswith("row federated") and text.endswith(" 1")]
    assert training.tried.count("encoder federated 1") == 1
    assert len(read_rows(plan.path.parent / "out" / "plan.csv")) == 6


def test_a_run_that_another_plan_has_made_is_taken_from_it(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    run_experiment(plan, out, console=QUIET)
    training.done.clear()
    other = write_plan(plan.path.parent, "other", arms=["scratch"], labels=[1, 2, "all"], shards={"here": None})
    rows = run_experiment(other, out, console=QUIET)
    assert training.done == ["row scratch 2 0"]
    assert {r.cell.shard for r in rows} == {"here"}  # the names are those of the plan that tells of it


def assert_refused_and_kept(plan: Plan, out: Path, training: Training, message: str) -> None:
    """Run the plan, which is refused before anything is trained, and leaves the rows that are there."""
    before = (out / "plan.csv").read_bytes()
    training.done.clear()
    with pytest.raises(FedSwinError, match=message):
        run_experiment(plan, out, console=QUIET)
    assert training.done == []
    assert (out / "plan.csv").read_bytes() == before


def test_rows_that_a_changed_plan_does_not_make_are_refused_and_stay(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    run_experiment(plan, out, console=QUIET)
    fewer = write_plan(plan.path.parent, labels=[1, 2], seeds=[0], arms=["scratch"])
    assert_refused_and_kept(fewer, out, training, "it or a job has changed since")


def test_other_csvs_in_the_folder_are_left_alone(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    out.mkdir()
    (out / "patients.csv").write_text("name,age\nx,1\n")
    run_experiment(plan, out, cells=chosen_cells(plan, ["arm=scratch", "seed=0"]), console=QUIET)
    assert (out / "patients.csv").read_text() == "name,age\nx,1\n"


def test_a_file_that_no_experiment_wrote_is_not_replaced(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    out.mkdir()
    (out / "plan.md").write_text("mine")
    with pytest.raises(FedSwinError, match=r"plan.md is there without plan.csv"):
        run_experiment(plan, out, console=QUIET)
    assert training.done == []


def test_rows_of_two_data_are_told_apart_without_the_data(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    rows = run_experiment(plan, out, console=QUIET)
    write_rows(out / "plan.csv", [replace(rows[0], about={**rows[0].about, "data": "elsewhere"}), *rows[1:]])
    with pytest.raises(FedSwinError, match="Keep the CSVs of different data in different folders"):
        run_experiment(plan, out, console=QUIET)


def test_rows_of_other_data_are_refused_before_anything_is_trained(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    run_experiment(plan, out, cells=chosen_cells(plan, ["seed=0"]), console=QUIET)
    write_collection(plan.path.parent / "collection", {"c": (1, 0)}, (4, 4, 4))
    assert_refused_and_kept(plan, out, training, "its rows were made on the data")


def test_two_experiments_do_not_write_the_same_folder(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    with lock_run(out / RUNS), pytest.raises(FedSwinError, match="is being written by process"):
        run_experiment(plan, out, console=QUIET)
    assert training.done == []


def test_a_site_that_the_plan_misnames_is_said_in_time(plan: Plan, training: Training) -> None:
    wrong = write_plan(plan.path.parent, "wrong", tasks={"lump": {"job": "finetune.yaml", "sites": ["x"]}})
    with pytest.raises(FedSwinError, match="there is no site 'x'"):
        run_experiment(wrong, plan.path.parent / "out", console=QUIET)
    assert training.done == []


def test_a_part_of_a_plan_is_named_by_its_axes(plan: Plan) -> None:
    cells = chosen_cells(plan, ["seed=0", "labels=1", "labels=all", "arm=scratch"])
    assert [(cell.seed, cell.labels, cell.arm) for cell in cells] == [(0, 1, "scratch"), (0, "all", "scratch")]
    assert chosen_cells(plan, []) == cells_of(plan)
    for wrong, message in (("sed=0", "did you mean 'seed'"), ("seed", "no such seed"), ("seed=7", "It has 0, 1")):
        with pytest.raises(FedSwinError, match=message):
            chosen_cells(plan, [wrong])


def test_a_cell_says_only_what_is_special_about_it() -> None:
    cell = Cell("lump", "as they are", "", 1, "federated", "inpainting + rotation + contrastive", "all", 2)
    assert str(cell) == "lump, as they are, federated, labels 1, seed 2"
    special = replace(cell, left_out="b", objective="rotation", cases=3)
    assert str(special) == "lump, as they are, without b, federated, rotation, labels 1, scans 3, seed 2"


def test_a_run_that_fails_as_nobody_foresaw_costs_itself_alone_too(plan: Plan, training: Training) -> None:
    def run_out_of_memory(text: str) -> bool:
        if text == "row scratch 1 0":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return False

    training.fails = run_out_of_memory
    with pytest.raises(FedSwinError, match="Runs that failed: 1. The first was .*OutOfMemoryError"):
        run_experiment(plan, plan.path.parent / "out", workers=2, console=QUIET)
    assert len(read_rows(plan.path.parent / "out" / "plan.csv")) == 7


def test_what_is_tested_on_and_was_put_into_pre_training_later_is_refused_before_anything_runs(
    plan: Plan, training: Training
) -> None:
    out = plan.path.parent / "out"
    training.fails = lambda _: True
    with pytest.raises(FedSwinError, match="cannot be"):
        run_experiment(plan, out, console=QUIET)
    for finetuning in (out / RUNS / "deals").glob("*/finetuning/a"):
        datalist = finetuning.parents[1] / "pretraining" / "a" / "datalist.json"
        tested = json.loads((finetuning / "datalist.json").read_text())["test"]
        datalist.write_text(json.dumps({**json.loads(datalist.read_text()), "training": tested}))
    training.fails = lambda _: False
    training.done.clear()
    with pytest.raises(FedSwinError, match=r"the patient 'a/case\d' is tested on, and is in pre-training at a"):
        run_experiment(plan, out, console=QUIET)
    assert training.done == []


def test_an_encoder_that_is_gone_is_trained_anew_for_the_rows_that_need_it(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    training.fails = lambda text: text == "row federated all 0"
    with pytest.raises(FedSwinError, match="cannot be"):
        run_experiment(plan, out, console=QUIET)
    shutil.rmtree(out / RUNS)
    training.fails = lambda _: False
    training.done.clear()
    run_experiment(plan, out, console=QUIET)
    assert training.done == ["encoder federated 0", "row federated all 0"]


def test_runs_are_counted_by_kind_without_data(plan: Plan, training: Training) -> None:
    out = plan.path.parent / "out"
    run_experiment(plan, out, cells=chosen_cells(plan, ["seed=0", "arm=federated", "labels=1"]), console=QUIET)
    [encoder] = (out / RUNS / "pretraining").iterdir()
    before = {path: path.lstat().st_mtime_ns for path in out.rglob("*")}
    shutil.rmtree(plan.path.parent / "collection")
    counts = {(c.what, c.kind): (c.runs, c.missing, c.steps) for c in count_experiment(plan, out, cells_of(plan))}
    assert counts == {
        ("encoder", "federated"): (2, 2, 4),  # that of seed 0 has not finished
        ("row", "scratch, labels 1"): (2, 2, 4),
        ("row", "scratch, labels all"): (2, 2, 4),
        ("row", "federated, labels 1"): (2, 1, 4),
        ("row", "federated, labels all"): (2, 2, 4),
    }
    assert {path: path.lstat().st_mtime_ns for path in out.rglob("*")} == before
    write_outcome(encoder, Outcome("completed", 2, "Done."))
    assert count_experiment(plan, out, cells_of(plan))[0].missing == 1


def test_seeds_of_encoders_and_frozen_runs_are_made_once_each(plan: Plan, training: Training) -> None:
    arms = {"arms": ["scratch", "federated"], "labels": ["all"]}
    crossed = write_plan(plan.path.parent, "crossed", **fixed(**arms, test_patients=2, frozen=[False, True]))
    rows = run_experiment(crossed, plan.path.parent / "out", workers=2, console=QUIET)
    assert len([text for text in training.done if text.startswith("encoder")]) == 2
    assert len(rows) == 2 * (2 * 2 + 2)
    assert chosen_cells(crossed, ["frozen=true", "arm=scratch", "seed=1"]) == [
        cell for cell in cells_of(crossed) if cell.frozen and cell.arm == "scratch" and cell.seed == 1
    ]
