"""Hand-over: what goes over, what is new, what is refused."""

from __future__ import annotations

import pytest
import torch

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.weights.file import Weights, load_weights, save_weights, tensors_digest
from fedswin.weights.handover import initial_state

PRETRAIN, FINETUNE = tiny.job(tiny.PRETRAIN), tiny.job(tiny.FINETUNE)


@pytest.fixture(scope="module")
def encoder():
    """A pre-training model whose tensors differ from every initialisation."""
    tensors = {name: tensor + 0.5 for name, tensor in initial_state(PRETRAIN).tensors.items()}
    return Weights(tensors, PRETRAIN)


def test_without_weights_the_seed_decides():
    assert tensors_digest(initial_state(PRETRAIN).tensors) == tensors_digest(initial_state(PRETRAIN).tensors)
    other = tiny.job({**tiny.PRETRAIN, "seed": 1})
    assert tensors_digest(initial_state(PRETRAIN).tensors) != tensors_digest(initial_state(other).tensors)


def test_the_whole_encoder_goes_over_and_the_rest_is_the_seeds(encoder):
    found, fresh = initial_state(FINETUNE, encoder), initial_state(FINETUNE).tensors
    in_encoder = [name for name in fresh if name.startswith("swinViT.")]
    assert found.matched == in_encoder
    assert found.unfit == []
    assert all(torch.equal(found.tensors[name], encoder.tensors[name]) for name in in_encoder)
    assert all(torch.equal(found.tensors[name], fresh[name]) for name in found.new)
    assert set(found.new) | set(found.matched) == set(fresh)
    assert all(not name.startswith("swinViT.") for name in found.unused)


def test_another_number_of_classes_renews_the_output_layer_alone():
    weights = Weights(initial_state(FINETUNE).tensors, FINETUNE)
    two = tiny.job({**tiny.FINETUNE, "segmentation": {"classes": {"a": 1, "b": 2}}})
    assert initial_state(two, weights).unfit == ["out.conv.conv.weight", "out.conv.conv.bias"]


def test_no_match_and_another_feature_size_are_refused(encoder):
    with pytest.raises(FedSwinError, match="none of the tensors matches"):
        initial_state(FINETUNE, Weights({"foreign": torch.zeros(1)}, PRETRAIN))
    wide = tiny.job({**tiny.FINETUNE, "model": {"feature_size": 24}})
    with pytest.raises(FedSwinError, match="encoder tensors have another shape"):
        initial_state(wide, encoder)


def test_a_weights_file_comes_back_and_a_damaged_one_is_named(encoder, tmp_path):
    path = tmp_path / "a model.pt"
    save_weights(path, encoder)
    found = load_weights(path)
    assert (found.digest, found.job) == (encoder.digest, encoder.job)
    content = torch.load(path, weights_only=True)
    next(iter(content["tensors"].values())).view(-1)[0] += 1
    torch.save(content, path)
    with pytest.raises(FedSwinError, match="do not match the file's SHA-256"):
        load_weights(path)
    path.write_bytes(b"torn")
    with pytest.raises(FedSwinError, match=r"a model.pt is not a readable weights file"):
        load_weights(path)
    with pytest.raises(FedSwinError, match="does not exist"):
        load_weights(tmp_path / "missing.pt")
