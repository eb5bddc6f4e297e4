"""How the server moves the global model towards the mean of the sites' models.

What separates the mean from the global model takes the place of a gradient's negative: Reddi et al., "Adaptive
Federated Optimization", ICLR 2021.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from fedswin.aggregation_settings import AggregationSettings


class ServerOptimizer(ABC):
    """Makes the next global model of the current one and the mean, parameter by parameter, in float32.

    Args:
        settings: the learning rate, and what else the optimizer takes.
    """

    def __init__(self, settings: AggregationSettings) -> None:
        self._settings = settings
        self._moments: dict[str, np.ndarray] = {}

    def step(self, current: Mapping[str, np.ndarray], mean: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the next global model; ``current`` and ``mean`` hold float32 arrays of the same names and shapes."""
        return {name: np.asarray(self._moved(name, current[name], mean[name]), np.float32) for name in current}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return what a resumed study goes on from: float32 arrays by name, none before the first step."""
        return dict(self._moments)

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state_dict` returned."""
        self._moments = dict(state)

    @abstractmethod
    def _moved(self, name: str, current: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return the next value of the parameter called ``name``."""

    def _moment(self, name: str, decay: float, value: np.ndarray, initial: float = 0.0) -> np.ndarray:
        """Multiply the moment called ``name`` by ``decay``, add ``value``, keep the result and return it."""
        moment = np.asarray(decay * self._moments.get(name, initial) + value, np.float32)
        self._moments[name] = moment
        return moment


class TakeMean(ServerOptimizer):
    """Plain federated averaging: the next global model is the mean, bit for bit."""

    def _moved(self, name: str, current: np.ndarray, mean: np.ndarray) -> np.ndarray:
        return mean


class FedAvgM(ServerOptimizer):
    """Momentum: Hsu et al., "Measuring the Effects of Non-Identical Data Distribution …", 2019."""

    def _moved(self, name: str, current: np.ndarray, mean: np.ndarray) -> np.ndarray:
        velocity = self._moment(f"velocity.{name}", self._settings.momentum, mean - current)
        return current + self._settings.learning_rate * velocity


class FedAdam(ServerOptimizer):
    """Adam without bias correction: Reddi et al., 2021, algorithm 2, whose second moment starts at epsilon squared."""

    def _moved(self, name: str, current: np.ndarray, mean: np.ndarray) -> np.ndarray:
        beta1, beta2, epsilon = self._settings.momentum, self._settings.beta2, self._settings.epsilon
        difference = mean - current
        first = self._moment(f"first.{name}", beta1, (1 - beta1) * difference)
        second = self._moment(f"second.{name}", beta2, (1 - beta2) * np.square(difference), initial=epsilon**2)
        return current + self._settings.learning_rate * first / (np.sqrt(second) + epsilon)


def build_server_optimizer(settings: AggregationSettings) -> ServerOptimizer:
    """Return the optimizer that a job asks for, before its first step."""
    kinds: dict[str, type[ServerOptimizer]] = {"none": TakeMean, "fedavgm": FedAvgM, "fedadam": FedAdam}
    return kinds[settings.optimizer](settings)
