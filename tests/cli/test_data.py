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
    code, shown, _ = fedswin("data", "check", "the sites", "--json")
    assert (code, words in shown) == (0, True)
    code, _, error = fedswin("train", PRETRAIN, "--data", "the sites/a", "--out", "strict", "--strict")
    assert (code, words in error, (study / "strict").exists()) == (1, True, False)
    short = ["--set", "federation.rounds=1", "--set", "federation.local_steps=1", "--set", "trainer.warmup_steps=0"]
    code, shown, _ = fedswin("train", PRETRAIN, "--data", "the sites/a", "--out", "warned", *short)
    assert (code, "Warning: a/images/case0.nii.gz: " in shown, words in shown) == (0, True, True)


def test_data_check_exits_with_1_for_an_error_and_strictly_for_a_warning(study: Path, fedswin: Command) -> None:
    assert [fedswin("data", "check", "the sites", *strict)[0] for strict in ([], ["--strict"])] == [0, 0]
    rewrite(first_image(study), shift)
    assert [fedswin("data", "check", "the sites", *strict)[0] for strict in ([], ["--strict"])] == [0, 1]
    first_image(study).unlink()
    assert fedswin("data", "check", "the sites")[0] == 1


def test_data_check_prints_one_json_document_and_nothing_else(study: Path, fedswin: Command) -> None:
    rewrite(first_image(study), shift)
    code, shown, error = fedswin("data", "check", "the sites", "--job", FINETUNE, "--json", "--workers", "2")
    document = json.loads(shown)
    assert (code, error, document["errors"], document["warnings"]) == (0, "", 0, 1)
    first, second = document["sites"]
    assert (first["name"], first["cases"]) == ("a", {"training": 2, "validation": 1, "test": 1})
    assert (first["classes"], first["size"]["R"]) == ({"lump": 4}, [66, 66.0, 66])
    assert [(finding["severity"], finding["where"]) for finding in first["findings"]] == [
        ("warning", "a/images/case0.nii.gz")
    ]
    assert second["findings"] == document["overall"] == []
    assert fedswin("data", "check", "the sites", "--json", "--strict")[0] == 1


def test_data_check_compares_datalists_that_have_no_files(study: Path, fedswin: Command) -> None:
    uid = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"
    for name, images in (("a", ["img_1.nii.gz", f"{uid}.nii.gz"]), ("b", ["img_1.nii.gz"]), ("c", [f"x/{uid}.nii"])):
        (study / f"{name}.json").write_text(json.dumps({"training": images}))
    code, shown, _ = fedswin("data", "check", "--lists", "a.json", "b.json")
    assert (code, "a.json: 2 cases, 1 with a series UID" in shown, "1 warning" in shown) == (0, True, True)
    assert fedswin("data", "check", "--lists", "a.json", "b.json", "--strict")[0] == 1
    code, shown, _ = fedswin("data", "check", "--json", "--lists", "a.json", "c.json")
    document = json.loads(shown)
    assert (code, document["errors"], document["lists"]["c.json"]) == (1, 1, {"cases": 1, "series": 1})


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["the sites", "the sites/a"], 2, "give one folder"),
        (["--lists", "the sites/a/datalist.json"], 1, "give two different files or more"),
        (["nowhere"], 1, "no site folder found"),
    ],
)
def test_data_check_says_what_it_cannot_check(
    study: Path, fedswin: Command, arguments: list[str], code: int, words: str
) -> None:
    found, shown, error = fedswin("data", "check", *arguments)
    assert (found, shown, words in error) == (code, "", True)
