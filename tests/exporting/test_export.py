"""``fedswin export``: what it refuses, and that model and card appear together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exporting.model_runs import FINETUNE, PRETRAIN, write_run
from fedswin.cli import models
from fedswin.errors import FedSwinError
from fedswin.exporting.export import FORMS, export
from fedswin.weights.file import load_weights


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("pretrained") / "run", PRETRAIN)


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.segments])
def test_a_pretraining_run_has_no_whole_network(pretrained, tmp_path, form):
    with pytest.raises(FedSwinError, match=f"segments nothing, so it cannot be exported as {form}") as raised:
        export(pretrained, form, tmp_path / "model")
    assert "--to encoder" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_the_best_model_is_written_unless_the_last_is_asked_for(pretrained, tmp_path):
    for which, options in (("best", {}), ("last", {"which": "last"})):
        export(pretrained, "encoder", tmp_path / f"{which}.pt", **options)
        whole = load_weights(pretrained / "global" / f"{which}.pt")
        found = load_weights(tmp_path / f"{which}.pt")
        assert found.provenance["round"] == whole.provenance["round"] == {"best": 1, "last": 2}[which]
        assert all((whole.tensors[name] == tensor).all() for name, tensor in found.tensors.items())


def test_the_card_lies_beside_the_file_and_knows_it(pretrained, tmp_path):
    card = export(pretrained, "swinvit", tmp_path / "my encoder.pt")
    assert card == tmp_path / "my encoder.pt.md"
    digest = hashlib.sha256((tmp_path / "my encoder.pt").read_bytes()).hexdigest()
    assert card.read_text().endswith(f"- the file `my encoder.pt`: `{digest}`\n")
    assert {path.name for path in tmp_path.iterdir()} == {"my encoder.pt", "my encoder.pt.md"}


@pytest.mark.parametrize("there", ["encoder.pt", "encoder.pt.md"])
def test_neither_the_file_nor_its_card_is_replaced_unasked(pretrained, tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(FedSwinError, match=f"{there} exists"):
        export(pretrained, "encoder", tmp_path / "encoder.pt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    export(pretrained, "encoder", tmp_path / "encoder.pt", overwrite=True)
    assert (tmp_path / there).read_bytes() != b"mine"


def test_an_unknown_form_is_refused_with_the_nearest(pretrained, tmp_path):
    with pytest.raises(FedSwinError, match=r"unknown form \(did you mean 'swinvit'\?\)"):
        export(pretrained, "swinvitt", tmp_path / "encoder.pt")


def test_the_command_writes_and_verifies(pretrained, tmp_path):
    def fedswin(*arguments: str | Path) -> str:
        result = CliRunner().invoke(models.app, ["export", *map(str, arguments)], catch_exceptions=False)
        return " ".join(result.output.split())

    out = tmp_path / "e.pt"
    assert "encoder; its model card is" in fedswin(pretrained, "--to", "encoder", "--out", out)
    assert fedswin(pretrained, "--verify", out).endswith("Its tensors are those of global/best.pt.")
    with pytest.raises(FedSwinError, match="with --to and --out, or what to check with --verify"):
        fedswin(pretrained, "--to", "encoder")
    untouched = write_run(tmp_path / "other", FINETUNE)
    with pytest.raises(FedSwinError, match="is of another job"):
        fedswin(untouched, "--verify", out)
