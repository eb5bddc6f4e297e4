"""The encoder's two forms, each loaded by the code that it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import SwinUNETR

from end_to_end import tiny
from exporting.model_runs import FINETUNE, PRETRAIN, ct_crop, model
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.exporting.encoder import save_encoder, save_swinvit
from fedswin.segmentation.model import build_segmenter
from fedswin.weights.dialects import read_initial_weights, translate
from fedswin.weights.file import Weights, load_parameters, load_weights
from fedswin.weights.handover import initial_state


def parts(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights.tensors.items() if name.startswith("swinViT.")}


def of_size(content: dict[str, Any], feature_size: int) -> Job:
    return tiny.job({**content, "model": {"feature_size": feature_size}})


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("feature_size", [12, 48])
def test_monais_load_from_takes_every_tensor_of_the_encoder(tmp_path, feature_size):
    weights = model(of_size(tiny.PRETRAIN, feature_size))
    save_swinvit(weights, tmp_path / "swinvit.pt")
    network = SwinUNETR(in_channels=1, out_channels=14, feature_size=feature_size)
    network.load_from(read(tmp_path / "swinvit.pt"))
    found = {f"swinViT.{name}": tensor for name, tensor in network.swinViT.named_parameters()}
    assert found.keys() == parts(weights).keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in parts(weights).items())


def published_script(path: Path, network: SwinUNETR) -> Any:
    """What the published fine-tuning script for BTCV does with --use_ssl_pretrained, step by step."""
    state = torch.load(path, weights_only=False)["state_dict"]
    for old, new in (("module.", ""), ("swin_vit", "swinViT")):
        if old in next(iter(state)):
            for key in list(state):
                state[key.replace(old, new)] = state.pop(key)
    return network.load_state_dict(state, strict=False)


@pytest.mark.parametrize("feature_size", [12, 48])
def test_the_published_script_misses_no_tensor_of_the_encoder(tmp_path, feature_size):
    weights = model(of_size(tiny.PRETRAIN, feature_size))
    save_swinvit(weights, tmp_path / "swinvit.pt")
    network = SwinUNETR(in_channels=1, out_channels=14, feature_size=feature_size)
    result = published_script(tmp_path / "swinvit.pt", network)
    assert [key for key in result.missing_keys if key.startswith("swinViT.")] == []
    assert result.missing_keys  # the decoder is not in the file
    found = dict(network.named_parameters())
    assert all(torch.equal(found[name], tensor) for name, tensor in parts(weights).items())


def test_the_published_script_finds_nothing_in_a_file_with_the_published_names_alone(tmp_path):
    save_swinvit(model(PRETRAIN), tmp_path / "swinvit.pt")
    state = {key: t for key, t in read(tmp_path / "swinvit.pt")["state_dict"].items() if key.startswith("module.")}
    torch.save({"state_dict": state}, tmp_path / "published.pt")
    network = SwinUNETR(in_channels=1, out_channels=14, feature_size=12)
    missing = published_script(tmp_path / "published.pt", network).missing_keys
    assert set(missing) == set(network.state_dict())


def test_both_sets_of_names_share_one_copy(tmp_path):
    weights = model(PRETRAIN)
    save_encoder(weights, tmp_path / "encoder.pt")
    save_swinvit(weights, tmp_path / "swinvit.pt")
    size = {path.stem: path.stat().st_size for path in tmp_path.glob("*.pt")}
    index = 8 * 343**2  # the position index of a window of 7 x 7 x 7, which load_from asks for
    assert size["swinvit"] < 1.1 * size["encoder"] + index


def test_fedswin_starts_from_it_as_from_one_encoder(tmp_path):
    weights = model(PRETRAIN)
    save_swinvit(weights, tmp_path / "swinvit.pt")
    source = read_initial_weights(tmp_path / "swinvit.pt")
    handover = initial_state(FINETUNE, source)
    assert (handover.unused, source.buffers) == ([], 8)
    assert handover.matched == list(parts(weights))
    assert all(torch.equal(handover.tensors[name], tensor) for name, tensor in parts(weights).items())


def test_a_second_name_with_another_value_is_reported_as_unused(tmp_path):
    save_swinvit(model(PRETRAIN), tmp_path / "swinvit.pt")
    state = dict(read(tmp_path / "swinvit.pt")["state_dict"])
    changed = "module.layers1.0.blocks.0.mlp.fc1.weight"
    state[changed] = state[changed] + 1
    assert list(translate(state).heads) == [changed]


def test_the_encoder_form_is_a_weights_file_of_the_encoder_alone(tmp_path):
    weights = model(FINETUNE)
    save_encoder(weights, tmp_path / "encoder.pt")
    found = load_weights(tmp_path / "encoder.pt")
    assert found.job == FINETUNE
    assert list(found.tensors) == list(parts(weights))
    assert list(read(tmp_path / "encoder.pt")["tensors"]) == list(parts(weights))


def test_loaded_by_monai_it_says_of_real_ct_what_the_runs_model_says(tmp_path, real_ct):
    weights = model(FINETUNE)
    save_swinvit(weights, tmp_path / "swinvit.pt")
    runs = build_segmenter(FINETUNE).eval()
    load_parameters(runs, weights.tensors, "the model")
    loaded = SwinUNETR(in_channels=1, out_channels=2, feature_size=12).eval()
    loaded.load_from(read(tmp_path / "swinvit.pt"))
    crop = ct_crop(real_ct, FINETUNE)
    with torch.no_grad():
        for expected, found in zip(runs.swinViT(crop), loaded.swinViT(crop), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_an_encoder_that_stayed_at_the_sites_is_refused(tmp_path):
    weights = model(FINETUNE)
    rest = {name: tensor for name, tensor in weights.tensors.items() if name not in parts(weights)}
    for save in (save_encoder, save_swinvit):
        with pytest.raises(FedSwinError, match="there is no encoder to export"):
            save(Weights(rest, FINETUNE), tmp_path / "encoder.pt")
    assert not (tmp_path / "encoder.pt").exists()
