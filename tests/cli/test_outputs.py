"""What commands write, and what they never write over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli.study import FINETUNE, PRETRAIN, Command, first_image
from end_to_end import tiny
from fedswin.weights.file import Weights, save_weights
from fedswin.weights.handover import initial_state

SCENARIO = str(Path(__file__).parents[2] / "simulator" / "three_phantom_hospitals.yaml")
OUTPUTS = {
    "simulate": ["simulate", PRETRAIN, "--data", "the sites", "--out", "mine"],
    "train": ["train", PRETRAIN, "--data", "the sites", "--out", "mine"],
    "phantom": ["data", "phantom", "mine"],
    "shard": ["data", "shard", "collection", "mine", "--by", "source"],
    "make": ["data", "make", SCENARIO, "mine"],
    "predict": ["predict", "the sites/a/images/case0.nii.gz", "--model", "model.pt", "--out", "mine"],
    "evaluate": ["evaluate", "model.pt", "--data", "the sites", "--out", "mine"],
    "export": ["export", "model.pt", "--to", "encoder", "--out", "mine"],
    "provision": ["provision", "consortium.yaml", "--out", "mine"],
    "fetch": ["fetch", "id", "--kit", "kit", "--out", "mine"],
}


@pytest.mark.parametrize("arguments", OUTPUTS.values(), ids=OUTPUTS)
def test_what_exists_is_never_replaced_unasked_nor_if_it_is_something_else(
    study: Path, fedswin: Command, arguments: list[str]
) -> None:
    example = Path(__file__).parents[2] / "provisioning" / "example.yaml"
    Path("consortium.yaml").write_text(example.read_text())
    job = tiny.job(tiny.FINETUNE)
    save_weights(Path("model.pt"), Weights(initial_state(job).tensors, job))
    case = first_image(study)
    (study / "collection" / "source" / "case").mkdir(parents=True)
    (study / "collection" / "source" / "case" / "ct.nii.gz").symlink_to(case)
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    for options, words in [([], "mine exists"), (["--overwrite"], "mine is something other than")]:
        code, _, error = fedswin(*arguments, *options)
        assert (code, words in error) == (1, True), error
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


def test_the_installed_command_says_what_is_wrong_and_exits_with_1(study: Path) -> None:
    command = [str(Path(sys.executable).with_name("fedswin")), "train", PRETRAIN, "--data", "none", "--out", "out"]
    ended = subprocess.run(command, cwd=study, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: none: no site folder found")
    assert len(ended.stderr.splitlines()) == 1


def test_shard_as_a_command(study: Path, fedswin: Command) -> None:
    image = first_image(study)
    for name in ("one", "two", "three"):
        folder = study / "collection" / "north" / name
        folder.mkdir(parents=True)
        (folder / "ct.nii.gz").write_bytes(image.read_bytes())
    code, shown, _ = fedswin("data", "shard", "collection", "out", "--by", "source", "--copy")
    assert (code, "│ north │        3 │        1 │          1 │    1 │" in shown) == (0, True), shown
    assert "2.00 (2.00-2.00)" in shown
    whole = ["--by", "source", "--validation", "0", "--test", "0"]
    code, shown, _ = fedswin("data", "shard", "collection", "whole", *whole)
    assert (code, "│ north │        3 │        3 │          0 │    0 │" in shown) == (0, True), shown
    code, shown, _ = fedswin(
        "data", "shard", "collection", "skewed", "--by", "dirichlet", "--alpha", "0.3", "--sites", "2"
    )
    assert (code, "north: unlabelled" in shown) == (0, True), shown


def test_folds_are_trained_one_by_one_and_none_is_trained_twice(study: Path, fedswin: Command) -> None:
    short = ["--set", "federation.rounds=1", "--set", "federation.local_steps=1", "--set", "data.folds=3"]
    command = ["train", FINETUNE, "--data", "the sites/a", "--out", "runs", *short]
    assert fedswin(*command, "--folds", "0-1")[0] == 0
    jobs = {run.name: yaml.safe_load((run / "job.yaml").read_text()) for run in Path("runs").iterdir()}
    assert {name: job["data"]["fold"] for name, job in jobs.items()} == {"fold0": 0, "fold1": 1}
    code, _, error = fedswin(*command, "--folds", "1,2")
    assert (code, "fold1 exists" in error, Path("runs/fold2").exists()) == (1, True, False)
    code, _, error = fedswin(*command, "--folds", "3")
    assert (code, "there are 3 (data.folds)" in error) == (1, True), error
