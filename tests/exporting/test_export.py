"""``fedswin export``: what it refuses, and that model and card appear together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exporting.model_runs import FINETUNE, PRETRAIN, model, write_run
from fedswin.cli import models
from fedswin.errors import FedSwinError
from fedswin.exporting.export import FORMS, export
from fedswin.weights.file import load_weights, save_weights
from full_disk import fill_up


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("pretrained") / "run", PRETRAIN)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    path = tmp_path_factory.mktemp("segmenter") / "model.pt"
    save_weights(path, model(FINETUNE))
    return path


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.segments])
def test_a_pretraining_run_has_no_whole_network(pretrained, tmp_path, form):
    with pytest.raises(FedSwinError, match=f"segments nothing, so it cannot be exported as {form}") as raised:
        export(pretrained, form, tmp_path / "model.onnx")
    assert "--to encoder" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.segments])
def test_of_a_linear_probe_the_encoder_alone_is_exported(tmp_path, form):
    probe = FINETUNE.changed("segmentation", decoder="linear")
    save_weights(tmp_path / "model.pt", model(probe))
    with pytest.raises(FedSwinError, match=f"'linear', a probe of the encoder, .* cannot be exported as {form}"):
        export(tmp_path / "model.pt", form, tmp_path / "out.onnx")
    export(tmp_path / "model.pt", "encoder", tmp_path / "encoder.pt")
    assert set(load_weights(tmp_path / "encoder.pt").tensors) == {
        name for name in model(probe).tensors if name.startswith("swinViT.")
    }


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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_whose_card_cannot_be_written_is_not_there_either(pretrained, tmp_path, monkeypatch):
    def fails():
        fill_up(monkeypatch, "encoder.pt.md")
        with pytest.raises(OSError, match="No space left"):
            export(pretrained, "encoder", tmp_path / "encoder.pt", overwrite=True)
        monkeypatch.undo()

    fails()
    assert list(tmp_path.iterdir()) == []
    export(pretrained, "encoder", tmp_path / "encoder.pt", which="last")
    before = contents(tmp_path)
    fails()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_can_be_written_it_says_so(segmenter, tmp_path, form):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FedSwinError, match=r"file: cannot write there \(.+\). Choose another folder"):
        export(segmenter, form, tmp_path / "file" / "model.onnx")


def test_an_onnx_file_must_be_called_one(segmenter, tmp_path):
    with pytest.raises(FedSwinError, match=r"model.pt: the name must end with .onnx"):
        export(segmenter, "onnx", tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("metadata", [None, "{}", '["fedswin"]', '{"fedswin": ', "\udcff"])
def test_a_folder_that_is_no_bundle_of_ours_is_never_replaced(segmenter, tmp_path, metadata):
    folder = tmp_path / "thesis"
    (folder / "configs").mkdir(parents=True)
    (folder / "README.md").write_text("mine")
    if metadata:
        (folder / "configs" / "metadata.json").write_text(metadata, errors="surrogateescape")
    before = contents(tmp_path)
    with pytest.raises(FedSwinError, match="thesis is something other than a bundle of FedSwin"):
        export(segmenter, "bundle", folder, overwrite=True)
    assert contents(tmp_path) == before


def test_a_bundle_of_ours_is_replaced_when_asked(segmenter, tmp_path):
    other = tmp_path / "other.pt"
    save_weights(other, model(FINETUNE, seed=2))
    export(segmenter, "bundle", tmp_path / "bundle")
    with pytest.raises(FedSwinError, match="bundle exists"):
        export(other, "bundle", tmp_path / "bundle")
    card = export(other, "bundle", tmp_path / "bundle", overwrite=True)
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    assert metadata["fedswin"]["tensors_sha256"] == load_weights(other).digest
    assert load_weights(other).digest in card.read_text()


def test_an_unknown_form_is_refused_with_the_nearest(pretrained, tmp_path):
    with pytest.raises(FedSwinError, match=r"unknown form \(did you mean 'swinvit'\?\)"):
        export(pretrained, "swinvitt", tmp_path / "encoder.pt")


def test_the_command_writes_and_verifies(pretrained, tmp_path):
    def fedswin(*arguments: str | Path) -> str:
        result = CliRunner().invoke(models.app, ["export", *map(str, arguments)], catch_exceptions=False)
        return " ".join(result.output.split())

    out = tmp_path / "[e] 1.pt"  # what rich would take for markup
    written = fedswin(pretrained, "--to", "encoder", "--out", out)
    assert written == f"{out}: encoder; its model card is {out}.md"
    assert fedswin(pretrained, "--verify", out).endswith("Its tensors are those of global/best.pt.")
    with pytest.raises(FedSwinError, match="with --to and --out, or what to check with --verify"):
        fedswin(pretrained, "--to", "encoder")
    new = tmp_path / "new.pt"
    for mixed in (("--to", "encoder", "--out", new), ("--to", "encoder"), ("--out", new)):
        with pytest.raises(FedSwinError, match="--verify only checks a file"):
            fedswin(pretrained, *mixed, "--verify", out)
    untouched = write_run(tmp_path / "other", FINETUNE)
    with pytest.raises(FedSwinError, match="is of another job"):
        fedswin(untouched, "--verify", out)
