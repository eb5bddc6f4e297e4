"""The global model at a site: taken over from the server, trained, sent back; local modules stay."""

from __future__ import annotations

from typing import Any

from torch import nn

from fedswin.config import FederationSettings
from fedswin.federation.encoding import Tensors
from fedswin.federation.exchange import Download, SiteExchange
from fedswin.weights.file import load_parameters, parameters
from fedswin.weights.local import local_names, split


class SiteModel:
    """A site's model as the federation sees it.

    Args:
        model: the model that the site trains.
        settings: what is exchanged, how, and which modules are local.
    """

    def __init__(self, model: nn.Module, settings: FederationSettings) -> None:
        self._model = model
        self._local = local_names([name for name, _ in model.named_parameters()], settings.local)
        self._exchange = SiteExchange(settings.exchange)
        self._has_local = False  # values of its own in the local modules, which no download replaces

    def load(self, download: Download) -> None:
        """Set the model to the global one. Local modules keep the site's values, if it has any.

        Raises:
            FedSwinError: if the download does not fit the model.
        """
        sent, first_local = split(download.tensors, self._local)
        shared = self._exchange.receive(download._replace(tensors=sent))
        local = self._own_local() if self._has_local else first_local
        load_parameters(self._model, {**shared, **local}, f"the global model, version {download.version},")
        self._has_local = True

    def update(self) -> Tensors:
        """Return what is sent of the model now that it is trained: floating-point parameters, none of them local."""
        shared, _ = split(dict(self._model.named_parameters()), self._local)
        return self._exchange.send(shared)

    def state_dict(self) -> dict[str, Any]:
        """Return what a later process needs beside the global model."""
        return {"feedback": self._exchange.state_dict(), "local": self._own_local()}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Go on from what `state_dict` returned; with ``None``, like a site that takes part for the first time."""
        self._exchange.load_state_dict(state["feedback"] if state else {})
        self._has_local = state is not None
        if state and state["local"]:
            load_parameters(self._model, {**parameters(self._model), **state["local"]}, "the site's state")

    def _own_local(self) -> Tensors:
        return {
            name: value.detach().cpu().clone() for name, value in self._model.named_parameters() if name in self._local
        }
