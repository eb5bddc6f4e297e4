"""Experiments with real processes: the plans that ship, a part of a grid, and one that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from experiments.studies import write_collection, write_plan
from fedswin.evaluation import ALL
from fedswin.experiments.cells import AXES, Cell, cells_of, key_of, pretraining_key
from fedswin.experiments.experiment import RUNS
from fedswin.experiments.plan import Plan, load_plan
from fedswin.experiments.rows import Row, read_rows
from fedswin.operations.evaluate import evaluate, matrix
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = pytest.mark.end_to_end

PLANS = sorted((Path(__file__).parents[2] / "simulator" / "plans").glob("*.yaml"))
_OTHERS = ("table_4_btcv", "figure_7_btcv", "figure_8_btcv", "tables_2_3_decathlon_ct")
"""Plans of which all that is special is in a smallest run of another plan: test_paper_plans.py has what they share."""
_COMMAND = [sys.executable, "-c", "from fedswin.cli import main; main()", "experiment"]
_CHEAPEST = ("local", "central", "federated", "scratch")
_FIVE = ("LUNA16", "TCIA_COVID19", "HNSCC", "TCIA_COLON", "LIDC_IDRI")
_STEPS = {"federation.rounds": 1, "federation.local_steps": 2, "trainer.cpu_threads": 1, "trainer.warmup_steps": 0}
_LEAST = {"model.feature_size": 12, "data.roi": [64, 32, 32], "data.spacing": [3, 3, 3], "trainer.batch_size": 1}
_LEAST_PRETRAINING = {
    "data.roi": [32, 32, 32],
    "trainer.batch_size": 2,
    "pretraining.reconstruction_head": "deconv5",
    "pretraining.validation_batches": 1,
}


def start(plan: Plan, out: Path, *options: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*_COMMAND, str(plan.path), "--out", str(out), *options],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(plan: Plan, out: Path, *options: str, environment: dict[str, str] | None = None) -> str:
    process = start(plan, out, *options, environment=environment)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    return printed


def test_a_grid_of_all_arms_is_run_scored_and_told(tmp_path: Path) -> None:
    write_collection(tmp_path / "collection", {"a": (2, 0), "b": (2, 1)})
    plan, out = write_plan(tmp_path), tmp_path / "out"
    printed = run(plan, out, "--workers", "2")
    rows = {row.cell.arm: row for row in read_rows(out / "plan.csv")}
    assert "plan: 0 of 4 runs are there, 4 to do" in printed
    assert list(rows) == ["scratch", "local", "federated", "central"]
    steps, batch = 2 * 2, 2
    assert [row.measures["pretraining_steps"] for row in rows.values()] == [0, steps, steps, steps]
    assert [row.measures["pretraining_samples"] for row in rows.values()] == [
        sites * steps * batch for sites in (0, 1, 2, 1)
    ]
    assert {row.measures["finetuning_steps"] for row in rows.values()} == {4}
    assert "pretraining_megabytes_per_round" not in rows["central"].measures
    for row in rows.values():
        assert_scored(plan, row, out)
    assert_same_traffic(rows["federated"], encoder_of(plan, rows["federated"].cell, out))
    assert re.search(r"^\| federated( \([^|]*\))? \| 0 \|", (out / "plan.md").read_text(), re.MULTILINE)


def assert_scored(plan: Plan, row: Row, out: Path) -> None:
    """Compare a row with an evaluation of the model that it tells of."""
    [run], [deal] = ((out / RUNS).glob(f"{kind}/*-{key_of(plan, row.cell)}") for kind in ("finetuning", "deals"))
    results = evaluate([run / "global" / "last.pt"], deal / "finetuning")
    [scores] = matrix(results).values()
    assert row.measures["dice"] == pytest.approx(scores[ALL]["dice"], rel=1e-5)
    assert row.sites == pytest.approx({name: of["dice"] for name, of in scores.items() if name != ALL}, rel=1e-5)
    assert len(row.cases) == len(results) == 2


def encoder_of(plan: Plan, cell: Cell, out: Path) -> Path:
    return next((out / RUNS / "pretraining").glob(f"*-{pretraining_key(plan, cell)}"), out / "not yet")


def assert_same_traffic(row: Row, encoder: Path) -> None:
    sites = [site for record in read_records(encoder)[1:] for site in record["sites"].values()]
    mean = np.mean([site["bytes_up"] + site["bytes_down"] for site in sites]) / 1e6
    assert row.measures["pretraining_megabytes_per_round"] == pytest.approx(mean, rel=1e-5)


def test_an_experiment_that_is_cut_off_goes_on_where_it_was_and_comes_to_the_same(tmp_path: Path) -> None:
    write_collection(tmp_path / "collection", {"a": (2, 0)})
    longer = {"federation.rounds": 6, "federation.local_steps": 3}
    plan = write_plan(tmp_path, arms=["local"], pretraining={"job": "pretrain.yaml", "set": longer})
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(plan, whole)
    [cell] = cells_of(plan)
    done = 0
    for number in (signal.SIGKILL, signal.SIGINT):
        process = start(plan, cut)
        wait_for(lambda before=done: len(read_records(encoder_of(plan, cell, cut))) > before + 1, process)
        os.kill(process.pid, number)  # the command alone, as 'kill' does, and not what it has started
        process.communicate(timeout=30)
        assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[number]
        done = len(read_records(encoder_of(plan, cell, cut)))
        assert 0 < done < 7, "it was cut off too late to test anything"
    run(plan, cut)
    assert len(read_records(encoder_of(plan, cell, cut))) == 7
    [one], [other] = read_rows(whole / "plan.csv"), read_rows(cut / "plan.csv")
    assert without_time(one) == without_time(other)
    (cut / "plan.csv").unlink()  # as if it had been cut off between a run and its row
    (cut / "plan.md").unlink()
    (cut / "plan.svg").unlink()
    run(plan, cut)
    assert without_time(one) == without_time(read_rows(cut / "plan.csv")[0])
    assert len(read_records(encoder_of(plan, cell, cut))) == 7


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def without_time(row: Row) -> dict[str, Any]:
    return {**vars(row), "about": {name: value for name, value in row.about.items() if name != "finished"}}


@pytest.mark.long
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in PLANS if path.stem not in _OTHERS])
def test_the_smallest_run_of_every_plan(path: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    plan = shrunk(path, tmp_path / path.name)
    cell = smallest(plan)
    only = [f"{axis}={cell.text(axis)}" for axis in AXES if axis != "frozen"]
    run(plan, tmp_path / "out", *(text for part in only for text in ("--only", part)), environment=environment)
    rows = read_rows(tmp_path / "out" / f"{plan.name}.csv")
    assert [row.cell for row in rows] == [replace(cell, frozen=frozen) for frozen in plan.settings.frozen]
    for row in rows:
        assert 0 <= row.measures["dice"] <= 1
        assert row.measures["worst_site_dice"] == pytest.approx(min(row.sites.values()), rel=1e-5)
        assert row.measures["finetuning_steps"] == 2
        assert row.measures["pretraining_steps"] == (0 if cell.starts_from_scratch else 2)
        assert set(row.sites) == {name.partition("/")[0] for name in row.cases}
        assert row.cases.keys() == row.hd95.keys() == row.nsd.keys()
        assert bool(row.about["encoder"]) != cell.starts_from_scratch
        assert ("dice_area" in row.measures) == bool(plan.settings.validation_patients)
        if row.cell.frozen:
            assert_encoder_untouched(plan, row, tmp_path / "out")


def assert_encoder_untouched(plan: Plan, row: Row, out: Path) -> None:
    [model] = (out / RUNS / "finetuning").glob(f"*-{key_of(plan, row.cell)}")
    before, after = (load_weights(run / "global" / "last.pt") for run in (encoder_of(plan, row.cell, out), model))
    names = [name for name in before.tensors if name.startswith("swinViT.")]
    assert len(names) == 118
    assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in names)


def shrunk(path: Path, out: Path) -> Plan:
    """Write the plan with one round of two steps, and volumes and networks as small as they can be."""
    content = yaml.safe_load(path.read_text())
    for job in (content["pretraining"], *content["tasks"].values()):
        job["job"] = str((path.parent / job["job"]).resolve())
        job["set"] = {**job.get("set", {}), **_STEPS, **_LEAST}
    content["pretraining"]["set"] |= _LEAST_PRETRAINING
    if "test_patients" in content:
        content |= {"test_patients": 3, "validation_patients": 3}
    if "phantom" in content["data"]:
        content["data"]["phantom"] |= {"volumes": 5, "spacing": 6}
    out.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_plan(out)


def smallest(plan: Plan) -> Cell:
    """Return the first of the cells that pre-train at the least cost; the first of all if none pre-trains."""
    return min(cells_of(plan), key=lambda cell: _CHEAPEST.index(cell.arm))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The collections that plans name, generated."""
    folder = tmp_path_factory.mktemp("data")
    write_collection(folder / "real_ct", {"sarcoma": (6, 0), "unlabelled": (0, 1), "organs": (0, 1)})
    write_collection(folder / "five", dict.fromkeys(_FIVE, (0, 1)))
    write_decathlon(folder / "decathlon" / "Task03_Liver")
    write_brain_tumours(folder / "decathlon" / "Task01_BrainTumour")
    write_btcv(folder / "btcv")
    write_head_neck(folder / "ct_collection")
    places = {
        "FEDSWIN_BTCV": "btcv/datalist.json",
        "FEDSWIN_CACHE": "cache",
        "FEDSWIN_REAL_CT": "real_ct",
        "FEDSWIN_DECATHLON": "decathlon",
        "FEDSWIN_CT_COLLECTION": "ct_collection",
        **{name: f"five/{name}" for name in _FIVE},
    }
    return {name: str(folder / place) for name, place in places.items()}


def write_head_neck(folder: Path) -> None:
    """Write twelve cases that show all seven structures of the collection, and a case of something else."""
    write_collection(folder, {"head_neck": (12, 0), "sarcoma": (1, 0)})
    for path in folder.glob("head_neck/*/label.nii.gz"):
        label = np.zeros((66, 40, 36), np.uint8)
        for value in range(1, 8):
            label[8 * value : 8 * value + 6, 10:30, 5:30] = value
        nib.save(nib.Nifti1Image(label, np.diag([2.0, 2.0, 2.0, 1.0])), path)


def write_decathlon(folder: Path) -> None:
    """Write a task as the Decathlon lays it out: liver and tumour, twelve cases with a label, one without."""
    label = np.zeros((66, 40, 36), np.uint8)
    label[10:40, 10:30, 5:30], label[20:30, 15:20, 10:20] = 1, 2
    write_task(folder, "liver", label, {"1": "liver", "2": "cancer"}, cases=13)


def write_brain_tumours(folder: Path) -> None:
    """Write five cases of four channels with a label, each one 4-D file, as the Decathlon has them, and one without."""
    label = np.zeros((66, 40, 36), np.uint8)
    for value in (1, 2, 3):
        label[18 * value - 10 : 18 * value, 10:30, 5:30] = value
    names = {"1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    write_task(folder, "BRATS", label, names, cases=6, channels=4)


def write_task(
    folder: Path, stem: str, label: np.ndarray, classes: dict[str, str], *, cases: int, channels: int = 0
) -> None:
    rng = np.random.default_rng([*stem.encode()])
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    names = [f"{stem}_{number}.nii.gz" for number in range(cases)]
    shape = (*label.shape, channels) if channels else label.shape
    signal = 100 * label[..., None] if channels else 100 * label
    for name in names:
        image = (rng.normal(0, 30, shape) + signal).astype(np.int16)
        nib.save(nib.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])), folder / "imagesTr" / name)
        nib.save(nib.Nifti1Image(label, np.diag([2.0, 2.0, 2.0, 1.0])), folder / "labelsTr" / name)
    (folder / "imagesTr" / names[-1]).rename(folder / "imagesTs" / names[-1])
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names[:-1]]
    content = {"name": stem, "labels": {"0": "background", **classes}, "training": training}
    (folder / "dataset.json").write_text(json.dumps({**content, "test": [f"./imagesTs/{names[-1]}"]}))


def write_btcv(folder: Path) -> None:
    """Write five cases with all 13 organs, as BTCV's archive has them, and a datalist that makes a collection of it."""
    rng = np.random.default_rng(13)
    label = np.zeros((66, 40, 36), np.uint8)
    for value in range(1, 14):
        label[5 * value - 4 : 5 * value, 10:30, 5:30] = value
    cases = [
        {"image": f"img/img{number:04}.nii.gz", "label": f"label/label{number:04}.nii.gz"} for number in range(1, 6)
    ]
    for case in cases:
        volumes = {"image": (rng.normal(0, 30, label.shape) + 10 * label).astype(np.int16), "label": label}
        for part, volume in volumes.items():
            (folder / case[part]).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2.0, 2.0, 1.0])), folder / case[part])
    (folder / "datalist.json").write_text(json.dumps({"training": cases}))
