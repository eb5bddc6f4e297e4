"""The global model at the server: how it is sent, and how the sites' updates become the next one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedswin.config import Job
from fedswin.federation.aggregation.rules import build_rule, site_weight
from fedswin.federation.aggregation.server_optimizer import build_server_optimizer
from fedswin.federation.aggregation.sketch import Sketch, sketch_step
from fedswin.federation.aggregation.update_guard import UpdateGuard
from fedswin.federation.encoding import Tensors
from fedswin.federation.exchange import Download, ServerExchange
from fedswin.federation.one_by_one import OneByOne
from fedswin.weights.local import local_names, split


class Added(NamedTuple):
    """What is kept of an update that was added.

    Attributes:
        weight: its weight in the mean.
        norm: the L2 norm of its difference from the published model.
        sketch: of that difference.
    """

    weight: int
    norm: float
    sketch: Sketch


class GlobalModel:
    """Publishes a model, takes updates of it one at a time, and publishes the next.

    Memory: one model, another for its error feedback unless the exchange is exact, the rule's sums, the update that is
    being added, as it was sent, and one decoded tensor of it; however many sites there are.

    Args:
        job: the job.
        tensors: every parameter of the initial model.
    """

    def __init__(self, job: Job, tensors: Mapping[str, Tensor]) -> None:
        self._settings = job.federation
        shared, self._first_local = split(tensors, local_names(tensors, job.federation.local))
        self._exchange = ServerExchange(job.federation.exchange, shared)
        self._shapes = {name: tuple(tensor.shape) for name, tensor in shared.items()}
        self._guard = UpdateGuard(self._shapes, job.federation.max_norm_ratio)
        self._optimizer = build_server_optimizer(job.federation.aggregation)
        self.start_round()

    @property
    def version(self) -> int:
        """How many models had been published before this one."""
        return self._exchange.version

    @property
    def published(self) -> Tensors:
        """What the sites hold once they have decoded what they were sent; without the modules that stay local."""
        return self._exchange.published

    def download_for(self, held: int | None) -> Download:
        """Return what brings a site to this model.

        Args:
            held: the version that the site holds, if any. One that holds none gets the whole model, and the first
                values of the local modules with it.
        """
        download = self._exchange.download_for(held)
        return download._replace(tensors={**download.tensors, **self._first_local}) if download.whole else download

    def start_round(self) -> None:
        """Forget the updates that were added since the last model was published."""
        self._rule = build_rule(self._settings.aggregation, self._shapes)

    def add(self, sent: Tensors, cases: Any, steps: Any) -> Added:
        """Add a site's update.

        Raises:
            UpdateRefusedError: if it cannot be part of the next model; nothing is added then.
        """
        weight = site_weight(self._settings.aggregation, cases, steps)
        read = self._exchange.read(sent)
        update = OneByOne(read, lambda name: read[name].numpy())
        reference = {name: tensor.numpy() for name, tensor in self.published.items()}
        norm = self._guard.check(update, reference, weight)
        self._rule.add(update, weight)
        return Added(weight, norm, sketch_step(update, reference))

    def advance(self, norms: Iterable[float]) -> Sketch:
        """Publish the next model, made of the updates that were added; return a sketch of the step to it.

        Args:
            norms: of those updates, as `add` returned them.
        """
        mean = self._rule.mean()
        current = {name: tensor.numpy() for name, tensor in self.published.items()}
        target = self._optimizer.step(current, mean)
        self._exchange.publish({name: torch.from_numpy(array) for name, array in target.items()})
        self._guard.close_round(norms)
        return sketch_step({name: tensor.numpy() for name, tensor in self.published.items()}, current)

    def state_dict(self) -> dict[str, Any]:
        """Return what another process needs to go on with this model."""
        return {
            "local": self._first_local,
            "exchange": self._exchange.state_dict(),
            "guard": self._guard.state_dict(),
            "optimizer": {name: torch.from_numpy(array) for name, array in self._optimizer.state_dict().items()},
        }

    @classmethod
    def from_state(cls, job: Job, state: Mapping[str, Any]) -> GlobalModel:
        """Return the model that `state_dict` described."""
        model = cls(job, {**state["exchange"]["published"], **state["local"]})
        model._exchange.load_state_dict(state["exchange"])
        model._guard.load_state_dict(state["guard"])
        model._optimizer.load_state_dict({name: tensor.numpy() for name, tensor in state["optimizer"].items()})
        return model
