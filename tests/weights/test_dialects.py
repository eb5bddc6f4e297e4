"""Weights dialects: whatever the tensors are called in a file, they arrive in the place where MONAI puts them."""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import filter_swinunetr
from monai.networks.utils import copy_model_state
from torch import Tensor

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.exporting.encoder import encoder_of, swinvit_state
from fedswin.weights.dialects import InitialWeights, read_initial_weights, state_dict, translate
from fedswin.weights.file import Weights, load_weights, save_weights
from fedswin.weights.handover import initial_state

State = dict[str, Tensor]

BLOCK = (
    "norm1.weight", "norm1.bias", "attn.relative_position_bias_table", "attn.relative_position_index",
    "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias", "norm2.weight", "norm2.bias",
    "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
)  # fmt: skip
MERGING = ("reduction.weight", "norm.weight", "norm.bias")
PUBLISHED = (
    *("module.patch_embed.proj.weight", "module.patch_embed.proj.bias"),
    *(f"module.layers{s}.0.blocks.{b}.{name}" for s in (1, 2, 3, 4) for b in (0, 1) for name in BLOCK),
    *(f"module.layers{s}.0.downsample.{name}" for s in (1, 2, 3, 4) for name in MERGING),
)  # fmt: skip
"""The encoder's keys in model_swinvit.pt, which are those that ``SwinUNETR.load_from`` asks for."""
HEADS = ("rotation_head.weight", "rotation_head.bias", "contrastive_head.weight", "convTrans3d.weight", "conv.0.weight")


def network(seed: int = 0) -> SwinUNETR:
    """A small network whose parameters are all random, biases and scales too."""
    model = SwinUNETR(in_channels=1, out_channels=2, feature_size=12)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator))
    return model


TRAINED = network()
STATE: State = dict(TRAINED.state_dict())
ENCODER: State = {f"swinViT.{name}": tensor for name, tensor in TRAINED.swinViT.named_parameters()}
NETWORK: State = dict(TRAINED.named_parameters())


def heads() -> State:
    return {name: torch.zeros(2) for name in HEADS}


def encoder_state(prefix: str, old_mlp: bool) -> State:
    """The encoder's state dict with ``prefix`` for ``swinViT.``, integer buffers included."""
    renamed = {f"{prefix}{name}": tensor for name, tensor in TRAINED.swinViT.state_dict().items()}
    return {name.replace("linear", "fc") if old_mlp else name: tensor for name, tensor in renamed.items()}


def autoencoder() -> State:
    """The state dict of a disruptive autoencoder: stages one level deeper, an output layer for images."""
    deeper = {re.sub(r"(layers\d\.0\.)", r"\g<1>0.", name): t for name, t in encoder_state("encoder.", False).items()}
    convolutions = {name: tensor for name, tensor in STATE.items() if not name.startswith(("swinViT.", "out."))}
    extra = ("encoder.mask_token", "encoder.norm.weight", "encoder.norm.bias", "out.conv.conv.weight")
    return {**{name: torch.zeros(1) for name in extra}, **deeper, **convolutions}


FORMS: dict[str, tuple[str, State]] = {
    "encoder, fc": ("published encoder", {**encoder_state("", True), **heads()}),
    "encoder, linear": ("published encoder", encoder_state("", False)),
    "swinViT, fc": ("self-trained encoder", {**encoder_state("swinViT.", True), **heads()}),
    "swinViT, linear": ("self-trained encoder", {**encoder_state("swinViT.", False), **heads()}),
    "swin_vit, fc": ("self-trained encoder", {**heads(), **encoder_state("swin_vit.", True)}),
    "SwinUNETR": ("segmentation network", STATE),
    "autoencoder": ("disruptive autoencoder", autoencoder()),
    "autoencoder, flat": ("disruptive autoencoder", encoder_state("encoder.", False)),
}
TAKEN = {
    "SwinUNETR": NETWORK,
    "autoencoder": {name: tensor for name, tensor in NETWORK.items() if not name.startswith("out.")},
}
"""What a form gives beside the encoder."""


def same(found: dict[str, Tensor], expected: State) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def corners(state: State) -> State:
    """Three values of each tensor, which are quicker to compare than all."""
    return {name: tensor.flatten()[:3] for name, tensor in state.items()}


def parallel(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMS)),
    prefix=st.booleans(),
    container=st.sampled_from([None, "state_dict", "model", "model_state_dict"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_every_form_gives_the_same_tensors_and_loses_none(form, prefix, container, dtype):
    dialect, state = FORMS[form]
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in corners(state).items()}
    stored = parallel(state) if prefix else state
    content = {"epoch": 3, container: stored} if container else {**stored, "epoch": 3}
    found = translate(state_dict(content, Path("file.pt")))
    assert found.dialect == dialect
    assert same(found.tensors, corners(TAKEN.get(form, ENCODER)))
    assert len(found.tensors) + len(found.heads) + found.buffers == len(state)
    assert found.buffers == 8  # the position indices of two blocks in four stages
    assert all(tensor.dtype == torch.float32 and not tensor.requires_grad for tensor in found.tensors.values())


def published() -> State:
    """A file with the published names, in the order of the encoder's own."""
    encoder = dict(zip(PUBLISHED, (encoder_state("module.", True)[name] for name in PUBLISHED), strict=True))
    return {**encoder, **parallel(heads())}


def test_the_published_file_loads_as_by_monais_load_from(tmp_path):
    torch.save({"state_dict": published()}, tmp_path / "model_swinvit.pt")
    monai = network(seed=1)
    monai.load_from(torch.load(tmp_path / "model_swinvit.pt", weights_only=True))
    found = read_initial_weights(tmp_path / "model_swinvit.pt")
    assert same(found.tensors, {f"swinViT.{name}": t for name, t in monai.swinViT.named_parameters()})
    assert found.heads == list(HEADS)
    assert found.file_sha256 == hashlib.sha256((tmp_path / "model_swinvit.pt").read_bytes()).hexdigest()


def test_the_autoencoder_loads_as_by_monais_filter(tmp_path):
    torch.save({"model": autoencoder()}, tmp_path / "ssl_pretrained_weights.pth")
    monai = network(seed=1)
    before = {name: tensor.clone() for name, tensor in monai.named_parameters()}
    content = torch.load(tmp_path / "ssl_pretrained_weights.pth", weights_only=True)["model"]
    copy_model_state(monai, content, filter_func=filter_swinunetr)
    found = read_initial_weights(tmp_path / "ssl_pretrained_weights.pth").tensors
    assert same({**before, **found}, dict(monai.named_parameters()))


def test_a_segmentation_network_loads_as_by_load_state_dict():
    monai = network(seed=1)
    monai.load_state_dict(STATE)
    assert same(translate(parallel(STATE)).tensors, dict(monai.named_parameters()))


def test_our_file_and_our_export_give_the_same_encoder(tmp_path):
    job = tiny.job(tiny.PRETRAIN)
    weights = Weights(initial_state(job, InitialWeights("FedSwin", ENCODER)).tensors, job)
    save_weights(tmp_path / "ours.pt", weights)
    own = read_initial_weights(tmp_path / "ours.pt")
    assert (own.dialect, own.heads, own.buffers) == ("FedSwin", [], 0)
    assert same(own.tensors, dict(weights.tensors))
    exported = translate(swinvit_state(encoder_of(weights)))
    assert exported.dialect == "self-trained encoder"  # whose names are ours; the published ones are there again
    assert same(exported.tensors, ENCODER)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "optimizer": {}}, "at its top are: epoch, optimizer"),
        ({"state_dict": {"epoch": 3}}, "at its top are: state_dict"),
        ([torch.zeros(1)], "at its top are: list"),
    ],
    ids=["no state", "state without tensors", "a list"],
)
def test_a_file_without_named_tensors_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(FedSwinError, match="odd.pt holds no tensors, neither at its top level") as raised:
        read_initial_weights(tmp_path / "odd.pt")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("item", "zipped"),
    [(argparse.Namespace(lr=1), True), (np.float64(0.8), True), (argparse.Namespace(lr=1), False)],
    ids=["arguments", "NumPy score", "from before torch 1.6"],
)
def test_a_file_that_needs_pickle_is_refused_and_the_advice_works(tmp_path, item, zipped):
    path = tmp_path / "my model.pt"
    content = {"state_dict": published(), "extra": item}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for read in (read_initial_weights, load_weights):
        with pytest.raises(FedSwinError, match=r"my model.pt holds an object of \S+ beside its tensors") as raised:
            read(path)
    advice = re.search(r'python (-c ".+?") with the key', str(raised.value))
    assert advice, str(raised.value)
    exec(shlex.split(advice[1])[1])  # as a shell would pass it to python -c
    assert same(read_initial_weights(tmp_path / "my model_tensors.pt").tensors, ENCODER)


def test_what_is_no_torch_file_is_named(tmp_path):
    for content in (b"", b"torn", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1"):
        (tmp_path / "page.pt").write_bytes(content)
        with pytest.raises(FedSwinError, match="page.pt is not a readable weights file"):
            read_initial_weights(tmp_path / "page.pt")
