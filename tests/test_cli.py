"""Bad input at the command line: exit code 1, a message that names file, site or key, and nothing half-written."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.networks.nets import SwinUNETR

from end_to_end import tiny
from fedswin import cli
from fedswin.data.datalist import read_site
from fedswin.weights.file import Weights, save_weights
from fedswin.weights.handover import initial_state

PRETRAIN, FINETUNE = "pretrain.yaml", "finetune.yaml"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with the site folders ``the sites/{a,b}`` and two job files."""
    tiny.write_sites(tmp_path / "the sites", {"a": 2, "b": 1})
    for name, content in ((PRETRAIN, tiny.PRETRAIN), (FINETUNE, tiny.FINETUNE)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    return tmp_path


class Command:
    """Runs ``fedswin`` in this process, from the folder of the study."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        self._monkeypatch.setattr(sys, "argv", ["fedswin", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = self._capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture
def fedswin(study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(study)
    return Command(monkeypatch, capsys)


def first_image(study: Path) -> Path:
    return read_site(study / "the sites" / "a").cases("training")[0].image


def first_label(study: Path) -> Path:
    label = read_site(study / "the sites" / "a").cases("training")[0].label
    assert label
    return label


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], spacing: float = 2.0) -> None:
    voxels = change(np.asanyarray(nib.load(path).dataobj))
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing, spacing, spacing, 1.0])), path)


def edit_datalist(study: Path, change: Callable[[dict[str, list[dict[str, str]]]], None]) -> None:
    path = study / "the sites" / "a" / "datalist.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def lose_image(study: Path) -> None:
    first_image(study).unlink()


def truncate(study: Path) -> None:
    first_image(study).write_bytes(first_image(study).read_bytes()[:-500])


def write_text_over(study: Path) -> None:
    first_image(study).write_text("this is no NIfTI")


def make_2d(study: Path) -> None:
    rewrite(first_image(study), lambda voxels: voxels[:, :, 0])


def make_4d(study: Path) -> None:
    rewrite(first_image(study), lambda voxels: np.stack([voxels, voxels], axis=-1))


def move_label(study: Path) -> None:
    rewrite(first_label(study), lambda voxels: voxels, spacing=2.5)


def label_unknown_organ(study: Path) -> None:
    rewrite(first_label(study), lambda voxels: voxels * np.uint8(7))


def put_nan(study: Path) -> None:
    def nan_in_the_corner(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(np.float32)
        voxels[0, 0, 0] = np.nan
        return voxels

    rewrite(first_image(study), nan_in_the_corner)


def empty_training(study: Path) -> None:
    edit_datalist(study, lambda content: content.update(training=[]))


def repeat_case(study: Path) -> None:
    edit_datalist(study, lambda content: content["validation"].append(content["training"][0]))


def misspell_a_class(study: Path) -> None:
    edit_datalist(study, lambda content: content.update(annotated=["lumb"]))


def name_an_unknown_label_map(study: Path) -> None:
    edit_datalist(study, lambda content: content.update(label_map="totalsegmentator_v3"))


BAD_DATA = {
    "missing image": (lose_image, "a/images/case0.nii.gz does not exist"),
    "truncated": (truncate, "a/images/case0.nii.gz: cannot be read as NIfTI"),
    "not NIfTI": (write_text_over, "a/images/case0.nii.gz: cannot be read as NIfTI"),
    "2-D": (make_2d, "a/images/case0.nii.gz: is 2-D"),
    "4-D": (make_4d, "a/images/case0.nii.gz: is 4-D"),
    "label off its image": (move_label, "a/labels/case0.nii.gz: lies up to"),
    "unknown label": (label_unknown_organ, "a/labels/case0.nii.gz: unknown label values: 7"),
    "NaN": (put_nan, "a/images/case0.nii.gz: 1 of 95040 voxels are NaN"),
    "empty training list": (empty_training, "there is no training case"),
    "case in two splits": (repeat_case, "is in both 'training' and 'validation'"),
    "annotated": (misspell_a_class, "a/datalist.json: 'annotated' names 'lumb', which is not a class of the job"),
    "named label map": (name_an_unknown_label_map, "does not know (did you mean 'totalsegmentator_v2'?)"),
}


@pytest.mark.parametrize("command", ["simulate", "train"])
@pytest.mark.parametrize(("damage", "words"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_stops_a_study_before_it_starts(
    study: Path, fedswin: Command, command: str, damage: Callable[[Path], None], words: str
) -> None:
    damage(study)
    code, _, error = fedswin(command, FINETUNE, "--data", "the sites", "--out", "runs/out")
    assert code == 1
    assert words in error
    assert "Traceback" not in error
    assert not (study / "runs").exists()


@pytest.mark.parametrize(("damage", "words"), BAD_DATA.values(), ids=BAD_DATA)
def test_data_check_finds_the_same(study: Path, fedswin: Command, damage: Callable[[Path], None], words: str) -> None:
    assert fedswin("data", "check", "the sites", "--job", FINETUNE)[0] == 0
    damage(study)
    code, shown, error = fedswin("data", "check", "the sites", "--job", FINETUNE)
    assert code == 1
    assert words in shown + error


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
    assert (code, words in shown) == (1, True)
    code, _, error = fedswin("train", PRETRAIN, "--data", "the sites/a", "--out", "strict", "--strict")
    assert (code, words in error, (study / "strict").exists()) == (1, True, False)
    short = ["--set", "federation.rounds=1", "--set", "federation.local_steps=1", "--set", "trainer.warmup_steps=0"]
    code, shown, _ = fedswin("train", PRETRAIN, "--data", "the sites/a", "--out", "warned", *short)
    assert (code, "Warning: a/images/case0.nii.gz: " in shown, words in shown) == (0, True, True)


BAD_SETTINGS = {
    "unknown key": (["federation.round=3"], "unknown key 'federation.round' (did you mean 'rounds'?)"),
    "unknown section": (["trainr.batch_size=1"], "unknown key 'trainr' (did you mean 'trainer'?)"),
    "roi": (["data.roi=[48,32,32]"], "every side must be a multiple of 32"),
    "small roi": (["data.roi=[32,32,32]"], "segmentation needs at least one side of 64"),
    "site without folder": (["federation.sites=[a,bb]"], "names the site 'bb', but the sites has no such folder"),
    "too few sites": (["federation.min_sites=3"], "2 of 2 sites can take part, and federation.min_sites is 3"),
    "no equals": (["federation.rounds"], "expected section.key=value"),
    "tolerance of no class": (
        ["segmentation.nsd_tolerance={lumps: 2}"],
        "nsd_tolerance names 'lumps', which is no class (did you mean 'lump'?)",
    ),
    "wrong type": (["federation.rounds=many"], "federation.rounds: Input should be a valid integer"),
}


@pytest.mark.parametrize(("settings", "words"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_a_setting_that_cannot_be_is_named(fedswin: Command, settings: Sequence[str], words: str) -> None:
    options = [part for setting in settings for part in ("--set", setting)]
    code, _, error = fedswin("simulate", FINETUNE, "--data", "the sites", "--out", "out", *options)
    assert code == 1
    assert words in error
    assert not Path("out").exists()


def test_a_pretraining_job_without_negatives_or_with_an_oblong_plane_is_refused(fedswin: Command) -> None:
    for setting, words in [("trainer.batch_size=1", "no negatives"), ("data.roi=[64,32,32]", "must be equal")]:
        code, _, error = fedswin("train", PRETRAIN, "--data", "the sites", "--out", "out", "--set", setting)
        assert (code, words in error) == (1, True), error


def test_a_missing_job_file_is_named(fedswin: Command) -> None:
    code, _, error = fedswin("simulate", "none.yaml", "--data", "the sites", "--out", "out")
    assert code == 1
    assert "none.yaml: cannot read the job file" in error


@pytest.mark.parametrize("command", ["simulate", "train"])
def test_weights_that_do_not_fit_are_named(fedswin: Command, command: str) -> None:
    other = tiny.job({**tiny.FINETUNE, "model": {"feature_size": 24}})
    save_weights(Path("other.pt"), Weights(initial_state(other).tensors, other))
    Path("notes.pt").write_text("no weights")
    torch.save({"state_dict": {"module.conv1.weight": torch.zeros(2)}}, "resnet.pth")
    torch.save({"state_dict": {}, "args": argparse.Namespace(lr=1)}, "pickled.pt")
    cases = [
        ("other.pt", "in the file, [12, 1, 2, 2, 2] in the model"),
        ("notes.pt", "notes.pt"),
        ("nowhere", "nowhere"),
        ("resnet.pth", "resnet.pth: none of the tensors matches the Swin encoder. The first are conv1.weight"),
        ("pickled.pt", "pickled.pt holds an object of argparse.Namespace"),
    ]
    for weights, words in cases:
        code, _, error = fedswin(command, FINETUNE, "--data", "the sites", "--out", "out", "--init", weights)
        assert (code, words in error, Path("out").exists()) == (1, True, False), error


def test_a_foreign_encoder_is_taken_over_and_what_became_of_it_is_told(study: Path, fedswin: Command) -> None:
    encoder = SwinUNETR(in_channels=1, out_channels=2, feature_size=12).swinViT
    foreign = {f"module.{name.replace('linear', 'fc')}": tensor for name, tensor in encoder.state_dict().items()}
    torch.save({"state_dict": {**foreign, "module.rotation_head.bias": torch.zeros(4)}}, "model_swinvit.pt")
    short = ["--set", "federation.rounds=1", "--set", "federation.local_steps=1"]
    arguments = ["--data", "the sites/a", "--out", "run", "--init", "model_swinvit.pt", *short]
    code, shown, error = fedswin("train", FINETUNE, *arguments)
    assert code == 0, error
    assert "Hand-over from model_swinvit.pt (published encoder): 118 tensors matched (118 of the encoder)" in shown
    rows = [re.findall(r"\w[\w ]*\w|\d+", line) for line in shown.splitlines()]
    for row in (["part", "matched", "new", "unused"], ["encoder stage 4", "29", "0", "0"], ["heads", "0", "0", "1"]):
        assert row in rows, shown
    assert "unused, since the model has no place for them: rotation_head.bias" in shown
    assert "left out: 8 integer buffers" in shown
    told = json.loads(Path("run/provenance.json").read_text())["handover"]
    digest = hashlib.sha256(Path("model_swinvit.pt").read_bytes()).hexdigest()
    assert (told["dialect"], told["matched"], told["unused"], told["file_sha256"]) == (
        "published encoder", 118, 1, digest,
    )  # fmt: skip


BAD_IMAGES = {name: (damage, words) for name, (damage, words) in BAD_DATA.items() if "images" in words}


@pytest.mark.parametrize(("damage", "words"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_an_image_that_cannot_be_used_is_refused_before_anything_is_predicted(
    study: Path, fedswin: Command, damage: Callable[[Path], None], words: str
) -> None:
    save_untrained("model.pt", tiny.FINETUNE)
    image = first_image(study)
    damage(study)
    code, _, error = fedswin("predict", str(image), "--model", "model.pt", "--out", "out")
    words = words.replace("does not exist", "there is no such file").removeprefix("a/images/case0.nii.gz").strip(": ")
    assert code == 1
    assert f"{image}: {words}" in error
    assert not Path("out").exists()


def test_models_that_cannot_predict_are_named(study: Path, fedswin: Command) -> None:
    save_untrained("model.pt", tiny.FINETUNE)
    save_untrained("encoder.pt", tiny.PRETRAIN)
    save_untrained("other.pt", {**tiny.FINETUNE, "data": {"roi": [64, 32, 32], "hu_window": [-100, 100]}})
    Path("notes.pt").write_text("no weights")
    cases = [
        ("encoder.pt", "the model of a 'pretrain' job and segments nothing"),
        ("other.pt", "model.pt and other.pt cannot predict together: data.hu_window"),
        ("notes.pt", "notes.pt is not a readable weights file"),
        ("none.pt", "none.pt does not exist"),
    ]
    for name, words in cases:
        models = ["--model", "model.pt", "--model", name]
        code, _, error = fedswin("predict", str(first_image(study)), *models, "--out", "out")
        assert (code, words in error, Path("out").exists()) == (1, True, False), error


def test_predict_as_a_command(study: Path, fedswin: Command) -> None:
    save_untrained("model.pt", tiny.FINETUNE)
    image = first_image(study)
    code, shown, _ = fedswin("predict", str(image), "--model", "model.pt", "--out", "out")
    assert (code, "lump" in shown, "out: 1 label maps, labels.json" in shown) == (0, True, True), shown
    assert nib.load(Path("out") / image.name).shape == nib.load(image).shape


def save_untrained(path: str, content: dict[str, Any]) -> None:
    job = tiny.job(content)
    save_weights(Path(path), Weights(initial_state(job).tensors, job))


OUTPUTS = {
    "simulate": ["simulate", PRETRAIN, "--data", "the sites", "--out", "mine"],
    "train": ["train", PRETRAIN, "--data", "the sites", "--out", "mine"],
    "phantom": ["data", "phantom", "mine"],
    "shard": ["data", "shard", "collection", "mine", "--by", "source"],
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
    example = Path(__file__).parents[1] / "provisioning" / "example.yaml"
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


def test_shard_as_a_command(study: Path, fedswin: Command, tmp_path: Path) -> None:
    image = first_image(study)
    for name in ("one", "two", "three"):
        folder = study / "collection" / "north" / name
        folder.mkdir(parents=True)
        (folder / "ct.nii.gz").write_bytes(image.read_bytes())
    code, shown, _ = fedswin("data", "shard", "collection", "out", "--by", "source", "--copy")
    assert (code, "north: 1 training, 1 validation, 1 test" in shown) == (0, True), shown


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
