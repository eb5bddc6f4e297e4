"""The cosine of two sketches against that of the steps themselves."""

from __future__ import annotations

import numpy as np
import pytest

from fedswin.federation.aggregation.sketch import cosine, sketch_step

SHAPES = {"conv": (300, 70, 3, 3), "bias": (70,), "norm": (5,), "large": (200_001,)}
Model = dict[str, np.ndarray]


def draw(seed: int) -> Model:
    rng = np.random.default_rng(seed)
    scales = dict(zip(SHAPES, (1.0, 20.0, 50.0, 0.1), strict=True))  # small tensors take large steps
    return {name: scales[name] * rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def flat(model: Model) -> np.ndarray:
    return np.concatenate([model[name].ravel() for name in SHAPES]).astype(np.float64)


def step(old: Model, direction: Model) -> Model:
    return {name: old[name] + direction[name] for name in SHAPES}


@pytest.mark.parametrize("mix", [-1.0, -0.5, 0.0, 0.1, 0.9, 1.0])
def test_the_cosine_is_that_of_the_steps_to_within_a_hundredth(mix: float) -> None:
    zero = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    one, noise = draw(1), draw(2)
    other = {name: mix * one[name] + (1 - abs(mix)) * noise[name] for name in SHAPES}
    a, b = flat(one), flat(other)
    exact = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert cosine(sketch_step(one, zero), sketch_step(other, zero)) == pytest.approx(exact, abs=0.012)


def test_where_a_step_starts_does_not_matter() -> None:
    old, direction = draw(3), {name: np.float32(8.0) * np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    zero = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    assert cosine(sketch_step(step(old, direction), old), sketch_step(direction, zero)) == pytest.approx(1.0, abs=1e-6)


def test_no_step_has_no_direction() -> None:
    old, new = draw(4), draw(5)
    assert cosine(sketch_step(old, old), sketch_step(new, old)) is None
