"""Parameters out of a model and into it: floating-point ones by exact name and shape, never an integer buffer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.tasks import build_model
from fedswin.weights.file import load_parameters, parameters


@pytest.fixture
def model() -> nn.Module:
    return build_model(tiny.job(tiny.FINETUNE))


def test_no_integer_buffer_is_among_the_parameters(model):
    integers = {name for name, value in model.state_dict().items() if not value.is_floating_point()}
    assert len(integers) == 8
    assert parameters(model).keys() == model.state_dict().keys() - integers
    assert all(tensor.dtype == torch.float32 for tensor in parameters(model).values())


def test_parameters_are_copies(model):
    before = parameters(model)["out.conv.conv.bias"]
    with torch.no_grad():
        model.out.conv.conv.bias += 1
    assert torch.equal(before + 1, model.out.conv.conv.bias)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"out.conv.conv.bias": None}, "missing out.conv.conv.bias"),
        ({"extra": torch.zeros(1)}, "unknown extra"),
        ({"out.conv.conv.bias": torch.zeros(3)}, r"out.conv.conv.bias has the shape \[3\], expected \[2\]"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name_and_change_nothing(model, change, problem):
    before = parameters(model)
    changed = {name: tensor + 1 for name, tensor in before.items()} | change
    with pytest.raises(FedSwinError, match=f"the global model does not fit the model: {problem}"):
        load_parameters(
            model, {name: tensor for name, tensor in changed.items() if tensor is not None}, "the global model"
        )
    assert all(torch.equal(tensor, before[name]) for name, tensor in parameters(model).items())
