"""The server's optimizers against torch's SGD and against Adam written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedswin.aggregation_settings import AggregationSettings
from fedswin.config import parse_job
from fedswin.errors import FedSwinError
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


def adam(value: float, path: list[float], learning_rate: float = ADAM.learning_rate) -> float:
    """Algorithm 2 of Reddi et al., for one number, with their beta1, beta2 and tau."""
    m, v = 0.0, 1e-3**2
    for mean in path:
        delta = mean - value
        m = 0.9 * m + (1 - 0.9) * delta
        v = 0.99 * v + (1 - 0.99) * delta**2
        value = value + learning_rate * m / (v**0.5 + 1e-3)
    return value


def test_adam_is_algorithm_2_of_the_paper_without_bias_correction():
    start, path = model(np.random.default_rng(1)), means(6)
    found = after(ADAM, start, path)
    for name, array in start.items():
        for place in np.ndindex(array.shape):
            expected = adam(float(array[place]), [float(mean[name][place]) for mean in path])
            assert found[name][place] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def moved_by(settings: AggregationSettings, delta: float, rounds: int) -> list[float]:
    """How far a parameter moves in each round, if the sites always move it by ``delta``."""
    optimizer, current = build_server_optimizer(settings), {"w": np.zeros(1, np.float32)}
    steps = []
    for _ in range(rounds):
        moved = optimizer.step(current, {"w": current["w"] + np.float32(delta)})
        steps.append(float(moved["w"][0] - current["w"][0]))
        current = moved
    return steps


def test_with_its_default_learning_rate_adam_moves_a_parameter_about_as_far_as_the_mean_does():
    """With 1.0, which is the default of the other optimizers, it moved 0.66 in five rounds of 1e-3."""
    default = AggregationSettings(optimizer="fedadam")
    assert (default.learning_rate, default.momentum, default.beta2, default.epsilon) == (0.01, 0.9, 0.99, 1e-3)
    # v stays at tau squared, as delta is tau: half of the sum of (1 - 0.9 ** t) is 0.657
    expected = sum(1 - 0.9**t for t in range(1, 6)) / 2
    assert sum(moved_by(default, 1e-3, 5)) == pytest.approx(0.01 * expected, rel=1e-4)
    assert expected == pytest.approx(0.66, abs=0.005)
    value = mean = 0.0
    path: list[float] = []
    for _ in range(5):  # the paper's algorithm, told the same differences
        path.append(mean + 1e-3)
        value = mean = adam(0.0, path, 0.01)
    assert sum(moved_by(default, 1e-3, 5)) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("delta", [0.1, -0.1])
def test_adam_moves_by_1_to_2_learning_rates_where_the_difference_stays_large(delta: float):
    steps = np.abs(moved_by(AggregationSettings(optimizer="fedadam"), delta, 200)) / 0.01
    assert steps.min() == pytest.approx(1, abs=0.1)
    assert steps.max() == pytest.approx(2, abs=0.2)


def test_adam_multiplies_a_difference_that_stays_small_by_the_learning_rate_over_epsilon():
    steps = moved_by(AggregationSettings(optimizer="fedadam"), 1e-6, 1500)
    assert max(steps) == steps[-1] == pytest.approx(1e-6 * 0.01 / 1e-3, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "learning_rate"),
    [
        ({}, 1.0),
        ({"optimizer": "fedavgm"}, 1.0),
        ({"optimizer": "fedadam", "learning_rate": None}, 0.01),
        ({"optimizer": "fedadam", "learning_rate": 0.1}, 0.1),
        ({"optimizer": "fedavgm", "learning_rate": 2.0}, 2.0),
        ({"optimizer": "none", "learning_rate": 1.0}, 1.0),  # so it stands in the job files of finished runs
    ],
)
def test_the_default_learning_rate_is_that_of_the_optimizer_and_is_written_down(
    settings: dict[str, Any], learning_rate: float
):
    found = AggregationSettings.model_validate(settings)
    assert found.learning_rate == learning_rate
    assert AggregationSettings.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "fedadam", "learning_rate": 1.0}, "learning_rate 1 is too large for 'fedadam'"),
        ({"learning_rate": 0.5}, "learning_rate 0.5 has no effect with optimizer 'none'"),
        ({"optimizer": "fedadam", "learning_rate": 0}, "aggregation.learning_rate: Input should be greater than 0"),
        ({"optimizer": ["fedadam"]}, "aggregation.optimizer: Input should be 'none'"),
    ],
)
def test_a_learning_rate_that_cannot_work_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(FedSwinError, match=message):
        parse_job({"name": "p", "task": "pretrain", "federation": {"aggregation": settings}}, "job.yaml")


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
