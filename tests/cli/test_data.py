"""Bad data at the command line: exit code 1, a message that names the file, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli.study import (
    BAD_DATA,
    FINETUNE,
    PRETRAIN,
    Command,
    edit_datalist,
    first_image,
    label_unknown_organ,
    misspell_a_class,
    move_label,
    rewrite,
)
from fedswin.data.datalist import read_site


@pytest.mark.parametrize("command", ["simulate", "train"])
@pytest.mark.parametrize(("damage", "words"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_stops_a_study_before_it_starts(
    study: Path, fedswin: Command, command: str, damage: Callable[[Path], None], words: str
) -> None:
    damage(study)
    none = ["--set", "data.max_bad_cases=0"]
    code, _, error = fedswin(command, FINETUNE, "--data", "the sites", "--out", "runs/out", *none)
    assert code == 1
    assert words in error
    assert "Traceback" not in error
    assert not (study / "runs").exists()


@pytest.mark.parametrize(("damage", "words"), BAD_DATA.values(), ids=BAD_DATA)
def test_data_check_finds_the_same(study: Path, fedswin: Command, damage: Callable[[Path], None], words: str) -> None:
    assert fedswin("data", "check", "the sites", "--job", FINETUNE)[0] == 0
    damage(study)
    code, shown, error = fedswin("data", "check", "the sites", "--job", FINETUNE, "--json")
    found = [finding for site in json.loads(shown)["sites"] for finding in site["findings"]]
    lines = [f"{finding['where']}: {finding['problem']}. {finding['fix']}" for finding in found]
    words = words.replace(" does not exist", ": there is no such file").replace("is in both", "in both")
    assert (code, error, any(words in line for line in lines)) == (1, "", True)


@pytest.mark.parametrize("command", ["simulate", "train"])
def test_voxels_of_a_class_that_is_not_annotated_stop_a_study(study: Path, fedswin: Command, command: str) -> None:
    edit_datalist(study, lambda content: content.update(annotated=["other"]))
    two = ["--set", "segmentation.classes={lump: 1, other: 2}"]
    code, _, error = fedswin(command, FINETUNE, "--data", "the sites", "--out", "runs/out", *two)
    assert (code, (study / "runs").exists()) == (1, False)
    assert "a/labels/case0.nii.gz: holds 'lump', which the datalist does not list as annotated" in error


def test_training_does_not_open_a_test_case(study: Path, fedswin: Command) -> None:
    [case] = read_site(study / "the sites" / "a").cases("test")
    case.image.write_text("never read")
    short = ["--set", "federation.rounds=1", "--set", "federation.local_steps=1"]
    assert fedswin("train", FINETUNE, "--data", "the sites/a", "--out", "out", *short)[0] == 0
    code, _, error = fedswin("evaluate", "out", "--data", "the sites", "--out", "scores")
    assert (code, str(case.image) in error, Path("scores").exists()) == (1, True, False)


@pytest.mark.parametrize("damage", [move_label, label_unknown_organ, misspell_a_class])
def test_a_pretraining_job_does_not_mind_labels(study: Path, fedswin: Command, damage: Callable[[Path], None]) -> None:
    damage(study)
    assert fedswin("data", "check", "the sites", "--job", PRETRAIN)[0] == 0


def shift(voxels: np.ndarray) -> np.ndarray:
    return voxels + np.int16(1024)


def squeeze(voxels: np.ndarray) -> np.ndarray:
    return np.clip(voxels / 8 + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("change", "words"), [(shift, "shifted by +1024"), (squeeze, "squeezed to 8 bits")])
def test_what_is_not_hu_is_a_problem_a_warning_or_an_error(
    study: Path, fedswin: Command, change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    rewrite(first_image(study), change)
    code, shown, _ = fedswin("data", "check", "the sites")
    assert (code, words in " ".join(shown.replace("│", " ").split())) == (0, True)
    assert fedswin("data", "check", "the sites", "--strict")[0] == 1
    code, _, error = fedswin("train", PRETRAIN, "--data", "the sites/a", "--out", "strict", "--strict")
    assert (code, words in error, (study / "strict").exists()) == (1, True, False)
    short = ["--set", "federation.rounds=1", "--set", "federation.local_steps=1", "--set", "trainer.warmup_steps=0"]
    code, shown, _ = fedswin("train", PRETRAIN, "--data", "the sites/a", "--out", "warned", *short)
    assert (code, "Warning: a/images/case0.nii.gz: " in shown, words in shown) == (0, True, True)
