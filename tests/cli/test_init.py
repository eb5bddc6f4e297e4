"""Weights to start from, at the command line."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from monai.networks.nets import SwinUNETR

from cli.study import FINETUNE, PRETRAIN, Command
from end_to_end import tiny
from fedswin.weights.file import Weights, save_weights, tensors_digest
from fedswin.weights.handover import initial_state


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
    about = json.loads(Path("run/provenance.json").read_text())
    told, parent = about["handover"], about["parent"]
    digest = hashlib.sha256(Path("model_swinvit.pt").read_bytes()).hexdigest()
    assert (told["dialect"], told["matched"], told["unused"]) == ("published encoder", 118, 1)
    own = {f"swinViT.{name}": tensor for name, tensor in encoder.named_parameters()}
    assert parent == {"file_sha256": digest, "tensors_sha256": tensors_digest(own)}


def test_a_run_at_chance_says_so_and_its_encoder_is_refused_where_a_person_is_strict(
    study: Path, fedswin: Command
) -> None:
    """Four views of two patients cannot tell a model from chance, whatever it has learned."""
    slow = ["--set", "trainer.learning_rate=1e-6"]
    code, shown, error = fedswin("train", PRETRAIN, "--data", "the sites", "--pool", "--out", "run", *slow)
    assert code == 0, error
    lines = shown.splitlines()
    assert sum(line.startswith("rotation ") and "(chance 0.25), contrastive " in line for line in lines) == 3
    warned = [line for line in lines if line.startswith("Warning: after ")]
    assert [line.split(", ", 1)[1] for line in warned] == [
        "the pre-training is at chance. What to do: jobs/when_pretraining_does_not_learn.md"
    ]
    noted = json.loads(Path("run/provenance.json").read_text())["learning"]
    assert {name: (told["verdict"], told["patients"]) for name, told in noted.items()} == {
        "best": ("at chance", 2),
        "last": ("at chance", 2),
    }
    start = ["--init", "run", "--out", "tuned"]
    for arguments in (
        ["train", FINETUNE, "--data", "the sites/a", *start],
        ["simulate", FINETUNE, "--data", "the sites", *start],
        ["job", "export", FINETUNE, "--sites", "a", *start],
        ["submit", FINETUNE, "--init", "run", "--kit", "none"],
    ):
        code, shown, error = fedswin(*arguments, "--strict")
        assert code == 1
        assert "this encoder was at chance: rotation " in error
        assert "leave out --strict" in error
        assert not Path("tuned").exists()
    code, shown, error = fedswin("job", "export", FINETUNE, "--sites", "a", *start)
    assert code == 0, error
    assert "Warning: this encoder was at chance: rotation " in error
