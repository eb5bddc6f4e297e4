"""Modules that stay at a site: which parameters they cover, and what is left to exchange."""

from __future__ import annotations

import pytest
import torch

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.tasks import build_model
from fedswin.weights.local import local_names, split

NAMES = [name for name, _ in build_model(tiny.job(tiny.PRETRAIN)).named_parameters()]


def test_a_module_covers_what_lies_below_it_and_nothing_beside_it():
    names = ["rotation.0.weight", "rotation.2.bias", "rotations.weight", "head.rotation.weight", "rotation"]
    assert local_names(names, ["rotation"]) == {"rotation.0.weight", "rotation.2.bias"}
    assert local_names(names, ["rotation.2"]) == {"rotation.2.bias"}
    assert local_names(names, ["rotation", "head"]) == {"rotation.0.weight", "rotation.2.bias", "head.rotation.weight"}


def test_without_a_module_everything_is_shared():
    assert local_names(NAMES, []) == set()


@pytest.mark.parametrize(
    ("module", "meant"),
    [("rotatoin", "rotation"), ("swinViT.layer4", "swinViT.layers4"), ("contrastive.weight", "contrastive")],
)
def test_a_module_without_a_parameter_is_refused_with_the_nearest_one(module, meant):
    with pytest.raises(FedSwinError, match=rf"federation.local names '{module}'.*did you mean '{meant}'"):
        local_names(NAMES, ["rotation", module])


def test_to_keep_the_whole_model_is_refused():
    with pytest.raises(FedSwinError, match="covers all of the model"):
        local_names(NAMES, ["swinViT", "rotation", "contrastive", "reconstruction"])


def test_splitting_parts_the_tensors_without_copying_them():
    tensors = {name: torch.zeros(1) for name in NAMES}
    shared, local = split(tensors, local_names(NAMES, ["rotation", "contrastive"]))
    assert {name.split(".")[0] for name in shared} == {"swinViT", "reconstruction"}
    assert {name.split(".")[0] for name in local} == {"rotation", "contrastive"}
    assert all({**shared, **local}[name] is tensor for name, tensor in tensors.items())
