"""TorchScript: loaded by torch.jit, it is the run's network, at one size and for any batch."""

from __future__ import annotations

import json

import pytest
import torch

from exporting.model_runs import FINETUNE, ct_crop, model
from fedswin.exporting.torchscript import FACTS, save_torchscript
from fedswin.segmentation.model import build_segmenter
from fedswin.weights.file import load_parameters

WEIGHTS = model(FINETUNE)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("torchscript") / "model.pt"
    save_torchscript(WEIGHTS, path)
    return path


@pytest.fixture(scope="module")
def loaded(exported):
    return torch.jit.load(exported)


def test_it_says_of_real_ct_what_the_runs_model_says_in_any_batch(loaded, real_ct):
    runs = build_segmenter(FINETUNE).eval()
    load_parameters(runs, WEIGHTS.tensors, "the model")
    crop = ct_crop(real_ct, FINETUNE)
    batch = torch.cat([crop, crop.flip(2), crop.flip(3)])
    with torch.no_grad():
        for images in (crop, batch):
            torch.testing.assert_close(loaded(images), runs(images), rtol=0, atol=1e-5)


def test_no_device_is_written_into_it(loaded):
    """MONAI makes attention masks in every call; traced as they are, they stay on the device of the export."""
    assert "aten::conv3d" in str(loaded.inlined_graph) or "aten::_convolution" in str(loaded.inlined_graph)
    assert "Device = prim::Constant" not in str(loaded.inlined_graph)


@pytest.mark.parametrize("shape", [(1, 1, 96, 32, 32), (1, 1, 32, 64, 32), (1, 2, 64, 32, 32), (1, 64, 32, 32)])
def test_another_shape_is_refused_in_words(loaded, shape):
    with pytest.raises(torch.jit.Error, match=r"This model takes \[batch\] \+ \[1, 64, 32, 32\]"):
        loaded(torch.zeros(shape))


def test_it_says_how_to_use_it(exported):
    extra = {FACTS: ""}
    torch.jit.load(exported, _extra_files=extra)
    facts = json.loads(extra[FACTS])
    assert facts["roi"] == [64, 32, 32]
    assert facts["hu_window"] == [-175, 250]
    assert facts["classes"] == {"background": 0, "lump": 1}
    assert facts["tensors_sha256"] == WEIGHTS.digest
    assert facts["job"] == FINETUNE.as_dict()
