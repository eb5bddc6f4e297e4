"""What crosses: floating-point parameters by exact name and shape, and never an integer buffer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.federation.aggregation.exact_mean import ExactMean
from fedswin.federation.exchange import pack, size_of, unpack
from fedswin.tasks import build_model

JOB = tiny.job(tiny.FINETUNE)


@pytest.fixture
def model():
    return build_model(JOB)


def test_no_integer_crosses(model):
    arrays = pack(model)
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert set(arrays) == {name for name, _ in model.named_parameters()}
    integers = [name for name, value in model.state_dict().items() if not value.is_floating_point()]
    assert len(integers) == 8
    assert not set(integers) & set(arrays)
    assert size_of(arrays) == 4 * sum(parameter.numel() for parameter in model.parameters())


def test_the_position_indices_survive_an_average_with_weights_20_and_29(model):
    """Stock averaging of the whole state dict corrupts 1251 of their 2197 entries with these weights."""
    before = {name: value.clone() for name, value in model.state_dict().items() if "relative_position_index" in name}
    mean = ExactMean({name: array.shape for name, array in pack(model).items()})
    other = build_model(tiny.job({**tiny.FINETUNE, "seed": 1}))
    mean.add(pack(model), 20)
    mean.add(pack(other), 29)
    unpack(model, mean.mean(), "the mean")
    after = model.state_dict()
    assert len(before) == 8
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not np.array_equal(pack(model)["out.conv.conv.weight"], pack(other)["out.conv.conv.weight"])


def test_packing_is_a_copy(model):
    arrays = pack(model)
    with torch.no_grad():
        model.out.conv.conv.bias += 1
    assert not np.array_equal(arrays["out.conv.conv.bias"], pack(model)["out.conv.conv.bias"])


def test_wrong_names_and_shapes_are_refused_by_name(model):
    arrays = pack(model)
    del arrays["out.conv.conv.bias"]
    with pytest.raises(FedSwinError, match=r"the update does not fit the model: missing out.conv.conv.bias"):
        unpack(model, arrays, "the update")
    with pytest.raises(FedSwinError, match="unknown extra"):
        unpack(model, {**pack(model), "extra": np.zeros(1, np.float32)}, "the update")
    with pytest.raises(FedSwinError, match=r"has the shape \[3\]"):
        unpack(model, {**pack(model), "out.conv.conv.bias": np.zeros(3, np.float32)}, "the update")
