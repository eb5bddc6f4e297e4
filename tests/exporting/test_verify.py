"""--verify: what is of the run is recognised in every form, what is not is refused with the reason."""

from __future__ import annotations

import json
from shutil import copytree

import pytest
import torch

from exporting.model_runs import FINETUNE, PRETRAIN, change_provenance, model, write_run
from fedswin.errors import FedSwinError
from fedswin.exporting.export import export
from fedswin.exporting.verify import verify
from fedswin.weights.file import Weights, load_weights, save_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("verify") / "run", FINETUNE)


@pytest.mark.parametrize(
    ("form", "which"),
    [("encoder", "best"), ("encoder", "last"), ("swinvit", "last"), ("torchscript", "last"), ("bundle", "last")],
)
def test_every_form_is_recognised_as_the_model_that_it_is(run, tmp_path, form, which):
    export(run, form, tmp_path / "model.pt", which=which)
    assert verify(run, tmp_path / "model.pt")[-2:] == [
        f"The job in {tmp_path / 'model.pt'} is that of the run.",
        f"Its tensors are those of global/{which}.pt.",
    ]


@pytest.mark.parametrize("form", ["encoder", "swinvit", "torchscript", "bundle"])
def test_another_model_of_the_same_job_is_refused(run, tmp_path, form):
    save_weights(tmp_path / "other.pt", model(FINETUNE, seed=9))
    export(tmp_path / "other.pt", form, tmp_path / "model.pt")
    with pytest.raises(FedSwinError, match=r"model.pt are not those of global/best.pt or global/last.pt in .*run"):
        verify(run, tmp_path / "model.pt")


def test_one_changed_value_is_noticed(run, tmp_path):
    export(run, "swinvit", tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["state_dict"]["swinViT.layers4.0.blocks.1.norm2.bias"][0] += 1e-6  # under both names, in one memory
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(FedSwinError, match="are not those of"):
        verify(run, tmp_path / "model.pt")


def test_the_same_tensors_of_another_job_are_refused(run, tmp_path):
    other = FINETUNE.model_copy(update={"seed": 1})
    save_weights(tmp_path / "model.pt", Weights(load_weights(run / "global" / "best.pt").tensors, other))
    with pytest.raises(FedSwinError, match=f"is of another job: its digest is {other.digest}"):
        verify(run, tmp_path / "model.pt")


def test_a_weights_file_of_the_run_and_what_the_provenance_notes_agree(run, tmp_path):
    run = copytree(run, tmp_path / "run")
    noted = {name: load_weights(run / "global" / f"{name}.pt").digest for name in ("best", "last")}
    assert noted["best"] != noted["last"]
    change_provenance(run, models={name: {"round": 1, "sha256": digest} for name, digest in noted.items()})
    assert verify(run, run / "global" / "last.pt") == [
        "global/best.pt is the model that provenance.json notes.",
        "global/last.pt is the model that provenance.json notes.",
        f"The job in {run / 'global' / 'last.pt'} is that of the run.",
        "Its tensors are those of global/last.pt.",
    ]
    change_provenance(run, models={"best": {"round": 1, "sha256": noted["last"]}})
    with pytest.raises(FedSwinError, match=r"best.pt is not the model that .*provenance.json notes"):
        verify(run, run / "global" / "last.pt")


def test_a_bundle_is_compared_by_its_model_and_its_metadata(run, tmp_path):
    bundle = tmp_path / "bundle"
    export(run, "bundle", bundle)
    assert verify(run, bundle)[-1] == "Its tensors are those of global/best.pt."
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    for own, problem in (
        ({"job_sha256": PRETRAIN.digest}, f"is of another job: its digest is {PRETRAIN.digest}"),
        ({}, "names no job of FedSwin"),
        ("none", "names no job of FedSwin"),
    ):
        path.write_text(json.dumps({**metadata, "fedswin": own}))
        with pytest.raises(FedSwinError, match=problem):
            verify(run, bundle)
    for damaged in ('{"fedswin": ', "[]"):
        path.write_text(damaged)
        with pytest.raises(FedSwinError, match=r"metadata.json says of itself is not as FedSwin writes it"):
            verify(run, bundle)
    path.unlink()
    with pytest.raises(FedSwinError, match=r"metadata.json cannot be read \(FileNotFoundError\)"):
        verify(run, bundle)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({}, "names no job of FedSwin"),
        ({"author": "someone"}, "names no job of FedSwin"),
        ({"job": "segmentation"}, "says of itself is not as FedSwin writes it"),
    ],
)
def test_an_onnx_file_of_another_tool_is_refused(run, tmp_path, metadata, problem):
    onnx = pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    content = onnx.helper.make_model(onnx.helper.make_graph([], "theirs", [], []))
    onnx.helper.set_model_props(content, metadata)
    onnx.save(content, tmp_path / "other.onnx")
    with pytest.raises(FedSwinError, match=f"other.onnx {problem}"):
        verify(run, tmp_path / "other.onnx")


def test_what_is_no_run_or_no_model_is_named(run, tmp_path):
    with pytest.raises(FedSwinError, match="cannot read the job file"):
        verify(tmp_path / "nothing", run / "global" / "best.pt")
    for name in ("torn.pt", "torn.onnx"):
        (tmp_path / name).write_bytes(b"torn")
        with pytest.raises(FedSwinError, match=f"{name} is not a readable"):
            verify(run, tmp_path / name)
    pretrained = write_run(tmp_path / "pretrained", PRETRAIN)
    for name in ("best", "last"):
        (pretrained / "global" / f"{name}.pt").unlink()
    with pytest.raises(FedSwinError, match="global holds no model to compare with"):
        verify(pretrained, run / "global" / "best.pt")
