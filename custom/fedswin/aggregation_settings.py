"""The settings ``federation.aggregation``: how the sites' models become the next global model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from fedswin.settings import IS_RECORD, Positive, Section

_LEARNING_RATES = {"none": 1.0, "fedavgm": 1.0, "fedadam": 0.01}
"""The default for each optimizer."""
_TOO_LARGE_FOR_ADAM = 1.0


class AggregationSettings(Section):
    """How the sites' models become the next global model."""

    rule: Literal["mean", "trimmed_mean"] = "mean"
    """The weighted mean (McMahan et al., 2017), or the mean of each parameter without its ``trim`` smallest and largest
    values (Yin et al., 2018), which weighs all sites alike."""
    trim: Positive = 1
    """How many values a trimmed mean leaves out at either end; it needs more than twice as many sites."""
    weights: Literal["cases", "steps", "uniform"] = "cases"
    """What a site weighs in the mean: its training cases, the optimizer steps it made, or 1."""
    optimizer: Literal["none", "fedavgm", "fedadam"] = "none"
    """Take the mean as it is, or as a step of momentum (Hsu et al., 2019) or of Adam (Reddi et al., 2021)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1.0
    """Of the server's optimizer; null is 1.0, or 0.01 for ``fedadam``. Momentum multiplies the difference of the mean
    from the global model. Adam scales it: a parameter whose difference stays well above ``epsilon`` moves by 1 to 2
    times ``learning_rate`` a round, whatever the difference; one that stays well below, by up to ``learning_rate`` /
    ``epsilon`` times it. So ``learning_rate`` should be about the difference itself: some hundred steps of AdamW at
    1e-4 to 1e-3 make it about 0.01, and Reddi et al. use 0.01 to 0.1."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of the server's optimizer; beta1 in Adam."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    epsilon: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's degree of adaptivity, tau of Reddi et al."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_learning_rate(cls, content: Any) -> Any:
        """Write the optimizer's default down, so that a run's job file says what it was run with."""
        if not isinstance(content, dict) or content.get("learning_rate") is not None:
            return content
        optimizer = content.get("optimizer", "none")
        default = _LEARNING_RATES.get(optimizer, 1.0) if isinstance(optimizer, str) else 1.0
        return {**content, "learning_rate": default}

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> AggregationSettings:
        if info.context and info.context.get(IS_RECORD):  # a run of before, whose models are still to be read
            return self
        if self.optimizer == "none" and self.learning_rate != _LEARNING_RATES["none"]:
            raise ValueError(
                f"learning_rate {self.learning_rate:g} has no effect with optimizer 'none', which takes the mean as it "
                "is. Leave it out, or set optimizer to 'fedavgm' or 'fedadam'"
            )
        if self.optimizer == "fedadam" and self.learning_rate >= _TOO_LARGE_FOR_ADAM:
            raise ValueError(
                f"learning_rate {self.learning_rate:g} is too large for 'fedadam', which moves a parameter by about "
                "that much a round, however little the sites have moved it; few parameters are above 1. Use 0.01 "
                "to 0.1 (Reddi et al., 2021), or leave it out"
            )
        return self
