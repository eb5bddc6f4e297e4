"""FedProx: a pull on a site's model towards the global one (Li et al., MLSys 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedswin.weights.local import local_names


class ProximalTerm:
    """mu/2 times the squared distance of a model from where it is now (Li et al., 2020, section 3.2).

    Args:
        model: the model as the global one has just been loaded into it; its parameters are copied.
        mu: the strength of the pull.
        local: modules that the site keeps to itself: no global model has them, so nothing pulls them.
    """

    def __init__(self, model: nn.Module, mu: float, local: Sequence[str] = ()) -> None:
        self._mu = mu
        parameters = dict(model.named_parameters())
        pulled = parameters.keys() - local_names(parameters.keys(), local)
        self._pairs = [
            (parameter, parameter.detach().clone()) for name, parameter in parameters.items() if name in pulled
        ]

    def __call__(self) -> Tensor:
        """Return the term as a scalar of the model as it is by now, for the backward pass."""
        distances = [(parameter - anchor).square().sum() for parameter, anchor in self._pairs]
        return self._mu / 2 * torch.stack(distances).sum()
