"""Hand-over: what goes over, what is new, what is refused."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import SwinUNETR

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.weights.dialects import DIALECTS, InitialWeights, read_initial_weights
from fedswin.weights.file import Weights, load_weights, save_weights, tensors_digest
from fedswin.weights.handover import PartCount, initial_state

PRETRAIN, FINETUNE = tiny.job(tiny.PRETRAIN), tiny.job(tiny.FINETUNE)


@pytest.fixture(scope="module")
def encoder():
    """A pre-training model whose tensors differ from every initialisation."""
    tensors = {name: tensor + 0.5 for name, tensor in initial_state(PRETRAIN).tensors.items()}
    return InitialWeights("FedSwin", tensors)


def test_without_weights_the_seed_decides():
    assert tensors_digest(initial_state(PRETRAIN).tensors) == tensors_digest(initial_state(PRETRAIN).tensors)
    other = tiny.job({**tiny.PRETRAIN, "seed": 1})
    assert tensors_digest(initial_state(PRETRAIN).tensors) != tensors_digest(initial_state(other).tensors)


def test_the_whole_encoder_goes_over_and_the_rest_is_the_seeds(encoder):
    found, fresh = initial_state(FINETUNE, encoder), initial_state(FINETUNE).tensors
    in_encoder = [name for name in fresh if name.startswith("swinViT.")]
    assert found.matched == in_encoder
    assert found.unfit == {}
    assert all(torch.equal(found.tensors[name], encoder.tensors[name]) for name in in_encoder)
    assert all(torch.equal(found.tensors[name], fresh[name]) for name in found.new)
    assert set(found.new) | set(found.matched) == set(fresh)
    assert all(not name.startswith("swinViT.") for name in found.unused)


def test_another_number_of_classes_renews_the_output_layer_alone():
    source = InitialWeights("FedSwin", {name: t + 1 for name, t in initial_state(FINETUNE).tensors.items()})
    two = tiny.job({**tiny.FINETUNE, "segmentation": {"classes": {"a": 1, "b": 2}}})
    found, fresh = initial_state(two, source), initial_state(two).tensors
    output = ["out.conv.conv.weight", "out.conv.conv.bias"]
    assert found.unfit == {name: source.tensors[name].shape for name in output}
    assert found.new == output
    for name, tensor in found.tensors.items():
        assert torch.equal(tensor, fresh[name] if name in output else source.tensors[name])


def test_every_tensor_of_model_and_file_is_in_one_count_of_its_part():
    tensors = initial_state(FINETUNE).tensors
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith("swinViT.layers2")}
    given["swinViT.layers1c.0.layer.conv1.conv.weight"] = torch.zeros(1)  # a block that only MONAI's use_v2 has
    found = initial_state(FINETUNE, InitialWeights("published encoder", given, ["rotation_head.weight"], 3))
    assert found.parts() == {
        "patch embedding": PartCount(2, 0, 0),
        "encoder stage 1": PartCount(29, 0, 1),
        "encoder stage 2": PartCount(0, 29, 0),
        "encoder stage 3": PartCount(29, 0, 0),
        "encoder stage 4": PartCount(29, 0, 0),
        "decoder": PartCount(31, 0, 0),
        "output layer": PartCount(2, 0, 0),
        "heads": PartCount(0, 0, 1),
    }
    about = found.provenance()
    assert about["handover"] == {
        "dialect": "published encoder", "matched": 122, "matched_encoder": 89, "new": 29, "other_shape": 0,
        "unused": 2, "integer_buffers": 3,
    }  # fmt: skip
    assert about["parent"] == {"file_sha256": None, "tensors_sha256": tensors_digest(given)}
    assert initial_state(FINETUNE).provenance() == {"handover": None, "parent": None}


@pytest.mark.parametrize("channels", [2, 4])
def test_another_number_of_input_channels_renews_the_layers_that_read_the_image(channels):
    network = SwinUNETR(in_channels=channels, out_channels=2, feature_size=12)
    source = InitialWeights("segmentation network", dict(network.named_parameters()))
    first = ["swinViT.patch_embed.proj.weight", "encoder1.layer.conv1.conv.weight", "encoder1.layer.conv3.conv.weight"]
    found = initial_state(FINETUNE, source)
    assert found.new == list(found.unfit) == first
    assert found.unfit[first[0]] == (12, channels, 2, 2, 2)
    assert len(found.matched) == len(found.tensors) - 3


def test_an_encoder_of_another_shape_is_refused_with_key_and_shapes(encoder):
    wide = tiny.job({**tiny.FINETUNE, "model": {"feature_size": 24}})
    with pytest.raises(FedSwinError, match="another shape") as raised:
        initial_state(wide, encoder, "model.pt")
    assert str(raised.value).startswith("model.pt: 110 of 118 encoder tensors")  # all but the eight position biases
    assert (
        "swinViT.patch_embed.proj.weight: [12, 1, 2, 2, 2] in the file, [24, 1, 2, 2, 2] in the model. "
        "Set model.feature_size to that of the weights (12)"
    ) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("swinViT.patch_embed.proj.weight", (12, 1, 4, 4, 4)),
        ("swinViT.layers1.0.blocks.0.attn.relative_position_bias_table", (3375, 3)),
    ],
    ids=["patch of 4", "window of 8"],
)
def test_one_encoder_tensor_of_another_shape_is_refused_too(encoder, name, shape):
    source = InitialWeights("FedSwin", {**encoder.tensors, name: torch.zeros(shape)})
    with pytest.raises(FedSwinError) as raised:
        initial_state(FINETUNE, source)
    assert f"1 of 118 encoder tensors have another shape than the job's model, such as {name}: {list(shape)}" in str(
        raised.value
    )


def test_a_file_without_a_swin_encoder_is_refused_with_its_keys_and_the_dialects(encoder):
    decoder = {name: t for name, t in initial_state(FINETUNE).tensors.items() if not name.startswith("swinViT.")}
    for tensors, heads in [({}, ["foreign"]), (decoder, [])]:
        with pytest.raises(FedSwinError, match="none of the tensors matches the Swin encoder") as raised:
            initial_state(FINETUNE, InitialWeights("published encoder", tensors, heads), "model.pt")
        assert f"The first are {[*tensors, *heads][0]}" in str(raised.value)
        assert "FedSwin" in str(raised.value)
        assert all(dialect.name in str(raised.value) for dialect in DIALECTS)


def test_a_weights_file_comes_back_and_a_damaged_one_is_named(encoder, tmp_path):
    path, weights = tmp_path / "a model.pt", Weights(encoder.tensors, PRETRAIN)
    save_weights(path, weights)
    found = load_weights(path)
    assert (found.digest, found.job) == (weights.digest, weights.job)
    assert tensors_digest(read_initial_weights(path).tensors) == weights.digest
    content = torch.load(path, weights_only=True)
    next(iter(content["tensors"].values())).view(-1)[0] += 1
    torch.save(content, path)
    for read in (load_weights, read_initial_weights):
        with pytest.raises(FedSwinError, match="do not match the file's SHA-256"):
            read(path)
    path.write_bytes(b"torn")
    with pytest.raises(FedSwinError, match=r"a model.pt is not a readable weights file"):
        load_weights(path)
    with pytest.raises(FedSwinError, match="does not exist"):
        load_weights(tmp_path / "missing.pt")
