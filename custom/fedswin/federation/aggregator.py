"""The aggregation rule as an NVFlare component."""

from __future__ import annotations

from nvflare.apis.dxo import MetaKey
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator

from fedswin.federation.aggregation.exact_mean import ExactMean
from fedswin.federation.aggregation.update_guard import UpdateGuard


class ExactMeanAggregator(ModelAggregator):
    """FedAvg's weighted mean, independent of the order of arrival; see `fedswin.federation.aggregation.exact_mean`."""

    def __init__(self) -> None:
        super().__init__()
        self.start_round(FLModel(params={}))

    def start_round(self, model: FLModel) -> None:
        """Expect updates of the names and shapes of the global ``model``."""
        self._global_model = model.params
        shapes = {name: array.shape for name, array in model.params.items()}
        self._guard = UpdateGuard(shapes, max_norm_ratio=None)
        self._mean = ExactMean(shapes)

    def accept_model(self, model: FLModel) -> None:
        """Add one site's model with its number of cases as weight.

        Raises:
            UpdateRefusedError: if the model cannot be part of the mean.
        """
        weight = model.meta[MetaKey.NUM_STEPS_CURRENT_ROUND]
        self._guard.check(model.params, self._global_model, weight)
        self._mean.add(model.params, weight)

    def aggregate_model(self) -> FLModel:
        """Return the mean of the models accepted since the round started."""
        return FLModel(params=self._mean.mean(), params_type=ParamsType.FULL)

    def reset_stats(self) -> None:
        """Forget the round's models."""
        self.start_round(FLModel(params={}))
