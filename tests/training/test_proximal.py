"""The proximal term against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedswin.training.proximal import ProximalTerm
from training.small_task import SmallTask


def moved(model: nn.Module) -> dict[str, np.ndarray]:
    """Move every parameter by chance; return by how much, name by name."""
    rng = np.random.default_rng(1)
    shifts = {name: rng.normal(size=tuple(p.shape)).astype(np.float32) for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += torch.from_numpy(shifts[name])
    return shifts


@pytest.mark.parametrize("mu", [0.01, 1.0, 30.0])
def test_it_is_half_mu_times_the_squared_distance_and_its_gradient_mu_times_the_distance(mu: float) -> None:
    model = SmallTask().model
    term = ProximalTerm(model, mu)
    shifts = moved(model)
    value = term()
    value.backward()
    assert value.item() == pytest.approx(mu / 2 * sum(float((shift**2).sum()) for shift in shifts.values()), rel=1e-5)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert np.allclose(parameter.grad, mu * shifts[name], rtol=1e-4, atol=1e-6)


def test_where_it_starts_it_is_zero_and_pulls_nowhere() -> None:
    model = SmallTask().model
    value = ProximalTerm(model, 5.0)()
    value.backward()
    assert value.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_a_module_that_the_site_keeps_to_itself_goes_free_and_one_with_a_longer_name_does_not() -> None:
    model = SmallTask().model
    term = ProximalTerm(model, 1.0, ["head"])
    moved(model)
    term().backward()
    pulled = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert pulled == {"body", "head2"}
