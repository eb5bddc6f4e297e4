"""The aggregation rule that a job asks for, and what a site weighs in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from fedswin.aggregation_settings import AggregationSettings
from fedswin.federation.aggregation.exact_mean import ExactMean
from fedswin.federation.aggregation.trimmed_mean import TrimmedMean


class Rule(Protocol):
    """Makes one model of those that the sites of a round send, in whatever order they arrive."""

    @property
    def models(self) -> int:
        """How many models have been added since the last mean."""

    def add(self, arrays: Mapping[str, np.ndarray], weight: int) -> None:
        """Add a model that an `UpdateGuard` has let pass.

        Raises:
            UpdateRefusedError: if it cannot be aggregated. Nothing is added then.
        """

    def mean(self) -> dict[str, np.ndarray]:
        """Return the aggregate as float32 arrays, and start anew: nothing is kept of the models.

        Raises:
            UpdateRefusedError: if too few models have been added.
        """


def build_rule(settings: AggregationSettings, shapes: Mapping[str, tuple[int, ...]]) -> Rule:
    """Return a rule for one round of models whose arrays have these names and ``shapes``."""
    if settings.rule == "trimmed_mean":
        return TrimmedMean(shapes, settings.trim)
    return ExactMean(shapes)


def site_weight(settings: AggregationSettings, cases: int, steps: int) -> int:
    """Return what a site weighs that has so many training ``cases`` and made so many optimizer ``steps`` this round."""
    if settings.rule == "trimmed_mean":
        return 1
    return {"cases": cases, "steps": steps, "uniform": 1}[settings.weights]
