"""The weighted mean against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings

from federation.aggregation.answers import Answer, aggregate, answers
from fedswin.federation.aggregation.exact_mean import ExactMean


@settings(deadline=None)
@given(answers())
def test_it_is_the_rational_mean_to_the_last_place(models: list[Answer]):
    total = sum(weight for _, weight in models)
    for place, found in enumerate(aggregate(ExactMean({"w": (6,)}), models)):
        exact = sum(Fraction(float(values[place])) * weight for values, weight in models) / total
        tolerance = max(float(np.spacing(np.float32(abs(float(exact))))), 2.0**-70)
        assert abs(float(found) - float(exact)) <= tolerance
