"""A study as two files: commands on the sites of a scenario."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cli.study import FINETUNE, Command
from fedswin.data.datalist import read_site
from fedswin.operations.scenario import load_scenario

SCENARIO = "one_hospital.yaml"
SHORT = ["--set", "federation.rounds=1", "--set", "federation.local_steps=1", "--set", "trainer.warmup_steps=0"]


@pytest.fixture
def scenario(study: Path) -> Path:
    """A scenario whose only source, ``north``, has a case of each split of site ``a``."""
    for split, [case, *_] in read_site(study / "the sites" / "a").splits.items():
        folder = study / "collection" / "north" / split
        folder.mkdir(parents=True)
        (folder / "ct.nii.gz").write_bytes(case.image.read_bytes())
        (folder / "label.nii.gz").write_bytes(case.label.read_bytes())
    content = {"description": "One source", "shard": {"collection": "collection", "by": "source"}}
    (study / SCENARIO).write_text(yaml.safe_dump(content))
    return study / SCENARIO


def test_training_and_evaluation_share_the_sites_and_the_run_remembers_them(scenario: Path, fedswin: Command) -> None:
    digest = load_scenario(scenario).digest
    made = f"runs/one_hospital-{digest[:8]}"
    code, shown, error = fedswin("train", FINETUNE, "--data", SCENARIO, "--out", "runs/own", *SHORT)
    assert (code, f"{made}: 1 sites, north" in shown) == (0, True), error
    remembered = json.loads(Path("runs/own/north/provenance.json").read_text())["scenario"]
    assert (remembered["digest"], remembered["settings"]["description"]) == (digest, "One source")
    code, shown, error = fedswin("evaluate", "runs/own/north", "--data", SCENARIO, "--out", "runs/scores")
    assert (code, f"The sites are in {made}" in shown) == (0, True), error
    assert {path.name for path in Path("runs").iterdir()} == {"own", "scores", Path(made).name}


def test_a_run_that_is_there_is_refused_before_sites_are_made(scenario: Path, fedswin: Command) -> None:
    Path("runs/own").mkdir(parents=True)
    for command in (["simulate", FINETUNE], ["train", FINETUNE], ["evaluate", "runs/own"]):
        code, _, error = fedswin(*command, "--data", SCENARIO, "--out", "runs/own")
        assert (code, "runs/own exists" in error) == (1, True), error
    assert [path.name for path in Path("runs").iterdir()] == ["own"]


def test_sites_are_made_on_their_own_and_checked(scenario: Path, fedswin: Command) -> None:
    code, shown, error = fedswin("data", "make", SCENARIO, "my sites")
    assert (code, "my sites: 1 sites, north" in shown) == (0, True), error
    assert fedswin("data", "check", "my sites")[0] == 0
