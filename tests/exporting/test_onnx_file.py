"""ONNX: run by ONNX Runtime, it is the run's network, at one size and for any batch."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from exporting.card_code import run_code
from exporting.model_runs import FINETUNE, ct_crop, model, write_run
from fedswin.errors import FedSwinError
from fedswin.exporting import onnx_file
from fedswin.exporting.export import card_beside, export
from fedswin.exporting.verify import verify
from fedswin.segmentation.model import build_segmenter
from fedswin.weights.file import load_parameters, load_weights

long = pytest.mark.long


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("onnx") / "run", FINETUNE)


@pytest.fixture(scope="module")
def exported(run):
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library, reason="the extra 'export' is not installed")
    export(run, "onnx", run.parent / "model.onnx")
    return run.parent / "model.onnx"


@pytest.fixture
def session(exported):
    import onnxruntime

    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


@long
def test_it_says_of_real_ct_what_the_runs_model_says_in_any_batch(run, session, real_ct):
    runs = build_segmenter(FINETUNE).eval()
    load_parameters(runs, load_weights(run / "global" / "best.pt").tensors, "the model")
    crop = ct_crop(real_ct, FINETUNE)
    for images in (crop, torch.cat([crop, crop.flip(2), crop.flip(3)])):
        with torch.no_grad():
            expected = runs(images).numpy()
        [found] = session.run(["logits"], {"image": images.numpy()})
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@long
def test_another_size_is_refused_by_the_runtime_itself(session):
    with pytest.raises(Exception, match=r"Got: 96 Expected: 64"):
        session.run(["logits"], {"image": np.zeros((1, 1, 96, 32, 32), np.float32)})


@long
def test_it_says_how_to_use_it_and_whose_it_is(run, exported, session, tmp_path):
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (facts["roi"], facts["classes"]) == ([64, 32, 32], {"background": 0, "lump": 1})
    assert facts["tensors_sha256"] == load_weights(run / "global" / "best.pt").digest
    assert verify(run, exported)[-1] == "Its tensors are those of global/best.pt."
    (tmp_path / "changed.onnx").write_bytes(_with_another_kernel(exported))
    with pytest.raises(FedSwinError, match="changed.onnx are not those of global/best.pt or global/last.pt"):
        verify(run, tmp_path / "changed.onnx")


def _with_another_kernel(path):
    import onnx

    content = onnx.load(path)
    kernel = next(tensor for tensor in content.graph.initializer if tensor.name == "out.conv.conv.weight")
    changed = onnx.numpy_helper.to_array(kernel) + np.float32(0.01)
    kernel.CopyFrom(onnx.numpy_helper.from_array(changed, kernel.name))
    return content.SerializeToString()


@long
def test_the_code_of_its_card_runs(exported, monkeypatch):
    monkeypatch.chdir(exported.parent)
    names = run_code(card_beside(exported).read_text())
    assert names["label"].shape == (1, 64, 32, 32)
    assert names["facts"]["roi"] == [64, 32, 32]


@long
def test_a_model_that_the_runtime_runs_otherwise_is_not_written(exported, tmp_path, monkeypatch):
    import onnx

    monkeypatch.setattr(onnx_file, "_exported", lambda weights: onnx.load(exported))
    damaged = model(FINETUNE)
    damaged.tensors["out.conv.conv.bias"].fill_(torch.nan)
    for weights in (model(FINETUNE, seed=7), damaged):
        with pytest.raises(FedSwinError, match="ONNX Runtime's logits differ from PyTorch's by"):
            onnx_file.save_onnx(weights, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_it_says_how_to_install_it(run, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(FedSwinError, match=rf'needs {library}: pip install "fedswin\[export\]"'):
        export(run, "onnx", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
