"""The server's optimizers against torch's SGD and against Adam written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedswin.config import AggregationSettings
from fedswin.federation.aggregation.server_optimizer import build_server_optimizer

MOMENTUM = AggregationSettings(optimizer="fedavgm", learning_rate=0.7, momentum=0.9)
ADAM = AggregationSettings(optimizer="fedadam", learning_rate=0.05, momentum=0.9, beta2=0.99, epsilon=1e-3)
NONE = AggregationSettings(optimizer="none")
SHAPES: dict[str, tuple[int, ...]] = {"encoder.weight": (3, 4), "encoder.scale": ()}


def model(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: np.array(rng.standard_normal(shape), np.float32) for name, shape in SHAPES.items()}


def means(number: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    return [model(rng) for _ in range(number)]


def after(settings: AggregationSettings, start: dict[str, np.ndarray], path: list[dict[str, np.ndarray]]):
    optimizer, current = build_server_optimizer(settings), start
    for mean in path:
        current = optimizer.step(current, mean)
    return current


@given(*[arrays(np.float32, 5, elements=st.floats(width=32, allow_nan=False)) for _ in range(2)])
def test_without_an_optimizer_the_mean_comes_back_bit_for_bit(current: np.ndarray, mean: np.ndarray):
    found = build_server_optimizer(NONE).step({"w": current}, {"w": mean})
    assert found["w"].tobytes() == mean.tobytes()


def test_momentum_is_that_of_torch():
    start, path = model(np.random.default_rng(1)), means(6)
    found = after(MOMENTUM, start, path)
    for name, array in start.items():
        parameter = torch.nn.Parameter(torch.tensor(array, dtype=torch.float64))
        sgd = torch.optim.SGD([parameter], lr=MOMENTUM.learning_rate, momentum=MOMENTUM.momentum)
        for mean in path:
            parameter.grad = parameter.detach() - torch.tensor(mean[name], dtype=torch.float64)
            sgd.step()
        assert np.allclose(found[name], parameter.detach().numpy(), rtol=1e-5, atol=1e-6)


def adam(value: float, path: list[float]) -> float:
    """Algorithm 2 of Reddi et al., for one number."""
    m, v = 0.0, ADAM.epsilon**2
    for mean in path:
        delta = mean - value
        m = ADAM.momentum * m + (1 - ADAM.momentum) * delta
        v = ADAM.beta2 * v + (1 - ADAM.beta2) * delta**2
        value = value + ADAM.learning_rate * m / (v**0.5 + ADAM.epsilon)
    return value


def test_adam_is_algorithm_2_of_the_paper_without_bias_correction():
    start, path = model(np.random.default_rng(1)), means(6)
    found = after(ADAM, start, path)
    for name, array in start.items():
        for place in np.ndindex(array.shape):
            expected = adam(float(array[place]), [float(mean[name][place]) for mean in path])
            assert found[name][place] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("settings", [NONE, MOMENTUM, ADAM], ids=lambda settings: settings.optimizer)
def test_models_and_states_are_float32_arrays_of_the_shapes_that_came(settings: AggregationSettings):
    start = model(np.random.default_rng(1))
    optimizer = build_server_optimizer(settings)
    moved = optimizer.step(start, means(1)[0])
    assert {name: array.shape for name, array in moved.items()} == SHAPES
    assert {array.shape for array in optimizer.state_dict().values()} <= set(SHAPES.values())
    arrays_ = [*moved.values(), *optimizer.state_dict().values()]
    assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays_)


@pytest.mark.parametrize("settings", [NONE, MOMENTUM, ADAM], ids=lambda settings: settings.optimizer)
@pytest.mark.parametrize("pause", range(5))
def test_a_resumed_study_goes_on_bit_for_bit(settings: AggregationSettings, pause: int):
    start, path = model(np.random.default_rng(1)), means(5)
    first = build_server_optimizer(settings)
    current = start
    for mean in path[:pause]:
        current = first.step(current, mean)
    second = build_server_optimizer(settings)
    second.load_state_dict({name: array.copy() for name, array in first.state_dict().items()})
    for mean in path[pause:]:
        current = second.step(current, mean)
    whole = after(settings, start, path)
    assert all(current[name].tobytes() == whole[name].tobytes() for name in SHAPES)


def test_what_was_saved_is_not_changed_by_the_next_step():
    optimizer = build_server_optimizer(ADAM)
    first, second = means(2)
    current = optimizer.step(first, second)
    saved = optimizer.state_dict()
    copies = {name: array.copy() for name, array in saved.items()}
    optimizer.step(current, first)
    assert all(np.array_equal(saved[name], copies[name]) for name in copies)
    assert not np.array_equal(optimizer.state_dict()["second.encoder.weight"], saved["second.encoder.weight"])
