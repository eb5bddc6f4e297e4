"""The model card: it says what is known, hides nothing that is not, and its code runs."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from end_to_end import tiny
from exporting.card_code import run_code
from exporting.model_runs import FINETUNE, PRETRAIN, SITES, model, write_run
from fedswin.exporting.card import model_card
from fedswin.exporting.export import export
from fedswin.run_folder import RunFolder
from fedswin.weights.dialects import read_initial_weights
from fedswin.weights.file import load_weights, save_weights
from learning import AT_CHANCE, COLLAPSED, learning_record

NEW_PROVENANCE = {
    "sites": {
        "north": {"cases": {"training": 31, "validation": 7}, "labels": {"lump": 29}, "regions": ["abdomen", "chest"]},
        "south": {"cases": {"training": 5, "validation": 2}, "labels": {}, "regions": []},
    },
    "handover": {"dialect": "FedSwin"},
    "parent": {"file_sha256": "ab" * 32},
    "code": {"version": "0.1.0", "commit": "c0ffee", "sha256": "00"},
}

monais_own = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
"""MONAI makes every reader that it knows, and one of them tells that its library is missing."""


def rows(card: str, heading: str) -> dict[str, list[str]]:
    """The rows of the table below ``heading``, by their first cell."""
    section = card.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_it_says_where_the_model_was_made_and_how_good_it_is(tmp_path):
    run = write_run(tmp_path / "run", FINETUNE, **NEW_PROVENANCE)
    card = model_card(load_weights(run / "global" / "best.pt"), "encoder", run, "## How\n")
    data = rows(card, "Data")
    assert data["north"] == ["31", "7", "abdomen, chest", "lump 29"]
    assert data["south"] == ["5", "2", "–", "–"]
    scores = rows(card, "Scores of this model on validation cases")
    assert scores[""] == ["dice", "dice_lump"]
    assert scores["north"] == scores["all sites"] == ["0.5", "0.5"]  # of round 1, not of the last line
    assert rows(card, "Training")["started from"] == [f"weights of the dialect 'FedSwin', file SHA-256 `{'ab' * 32}`"]
    assert rows(card, "How images are prepared")["output channels"] == ["0 background, 1 lump"]
    assert "global model 1 of 2" in card
    assert "in a simulation of its sites on one machine" in card
    assert "`c0ffee`" in card
    assert "pooled" not in card
    assert "the scans of 2 sites" in card
    assert load_weights(run / "global" / "best.pt").digest in card


def test_of_pooled_cases_it_names_the_sites_that_they_were_of(tmp_path):
    pool = {"pool": {"cases": {"training": 12345, "validation": 9}, "labels": {}, "regions": []}}
    run = write_run(tmp_path / "run", FINETUNE, sites=pool, pooled=["north", "south", "west"])
    card = model_card(load_weights(run / "global" / "best.pt"), "encoder", run, "")
    assert "The cases of north, south, west were pooled" in card
    assert "the scans of 3 sites" in card
    assert rows(card, "Data")["pool"] == ["12345", "9", "–", "–"]


def test_of_an_older_run_it_counts_from_the_metrics(tmp_path):
    run = write_run(tmp_path / "run", PRETRAIN)
    card = model_card(load_weights(run / "global" / "last.pt"), "encoder", run, "")
    assert rows(card, "Data")["north"] == [str(SITES["north"]), "2", "–", "–"]
    assert rows(card, "Scores of this model on validation cases")["south"][0] == "3"


def test_of_a_weights_file_alone_it_says_what_that_holds(tmp_path):
    run = write_run(tmp_path / "run", FINETUNE)
    best, last = (load_weights(run / "global" / f"{name}.pt") for name in ("best", "last"))
    assert rows(model_card(best, "encoder", None, ""), "Data")["north"] == ["–", "2", "–", "–"]
    assert rows(model_card(best, "encoder", None, ""), "Scores of this model on validation cases")["north"][0] == "0.5"
    card = model_card(last, "encoder", None, "")
    assert "It was trained with FedSwin.\n" in card
    assert "Which sites took part is not recorded" in card
    assert "They are not recorded" in card


def write_learning_run(folder: Path, **found: float) -> Path:
    run = RunFolder(folder, PRETRAIN)
    for number in range(2):
        run.save_last(model(PRETRAIN).tensors, number)
        run.close_round(learning_record(number, loss=2.0 - number, **found), model(PRETRAIN).tensors)
    return folder


@pytest.mark.parametrize(
    ("found", "words"),
    [(AT_CHANCE, "was at chance"), (COLLAPSED, "had collapsed"), ({}, "")],
    ids=["chance", "0", "ok"],
)
def test_it_says_whether_the_pre_training_learned(tmp_path, found, words):
    run = write_learning_run(tmp_path / "run", **found)
    weights = load_weights(run / "global" / "last.pt")
    line = weights.provenance["learning"]
    for where in (run, None):
        card = model_card(weights, "encoder", where, "")
        assert f"against chance: rotation {line['rotation_accuracy']:.2f} (chance 0.25), contrastive " in card
        assert ("**Its pre-training" in card) == bool(words)
        assert words in card
        assert "rotation_accuracy_sd" not in card
    start = {"dialect": "FedSwin", "learning": line}
    tuned = write_run(tmp_path / "tuned", FINETUNE, handover=start, parent={"file_sha256": "ab" * 32})
    of_tuned = model_card(load_weights(tuned / "global" / "best.pt"), "swinvit", tuned, "")
    [from_it] = rows(of_tuned, "Training")["started from"]
    assert f"; their pre-training: rotation {line['rotation_accuracy']:.2f} (chance 0.25), " in from_it


def test_no_path_of_this_machine_is_in_it(tmp_path):
    run = write_run(tmp_path / "run", FINETUNE)
    card = export(run, "swinvit", tmp_path / "model.pt").read_text()
    assert str(tmp_path) not in card


def write_case(folder: Path) -> None:
    """``ct.nii.gz`` and ``label.nii.gz``, as the card names them; 70 x 66 x 66 voxels of 2 mm."""
    label = np.zeros((70, 66, 66), np.uint8)
    label[10:40, 10:40, 10:40] = 1
    image = np.random.default_rng(0).normal(0, 30, label.shape) + 120.0 * label
    for name, voxels in (("ct", image.astype(np.int16)), ("label", label)):
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")


@monais_own
@pytest.mark.parametrize(
    ("form", "job"),
    [("encoder", PRETRAIN), ("swinvit", PRETRAIN), ("swinvit", FINETUNE), ("torchscript", FINETUNE)],
    ids=["encoder", "swinvit", "swinvit of a segmenter", "torchscript"],
)
def test_its_code_loads_the_model_and_trains_it_a_step(tmp_path, monkeypatch, form, job):
    monkeypatch.chdir(tmp_path)
    weights = model(job)
    save_weights(Path("run.pt"), weights)
    card = export(Path("run.pt"), form, Path("model.pt")).read_text()
    write_case(tmp_path)
    network = run_code(card)["network"]
    trained = {name.removeprefix("network."): parameter for name, parameter in network.named_parameters()}
    names = [name for name in weights.tensors if name.startswith("swinViT." if form != "torchscript" else "")]
    distance = {name: (trained[name] - weights.tensors[name]).abs().max().item() for name in names}
    assert max(distance.values()) <= 1.1e-4  # the step of AdamW is at most the learning rate, and it began here
    assert sum(value > 0 for value in distance.values()) > 0.9 * len(names)


@monais_own
def test_its_code_for_scans_of_another_spacing_and_for_other_modalities_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_case(tmp_path)
    for data in ({"spacing": [1.9, 2.0, 2.0]}, {"channels": ["MR"]}):
        job = tiny.job({**tiny.FINETUNE, "data": {"roi": [64, 32, 32], **data}})
        save_weights(Path("run.pt"), model(job))
        card = export(Path("run.pt"), "swinvit", Path("model.pt"), overwrite=True).read_text()
        assert torch.isfinite(run_code(card)["loss"])


def test_the_file_that_the_card_names_is_what_fedswin_starts_from(tmp_path):
    save_weights(tmp_path / "run.pt", model(PRETRAIN))
    for form in ("encoder", "swinvit"):
        card = export(tmp_path / "run.pt", form, tmp_path / f"{form}.pt").read_text()
        assert f"--init {form}.pt" in card or "reads it with `--init`" in card
        assert len(read_initial_weights(tmp_path / f"{form}.pt").tensors) == 118
