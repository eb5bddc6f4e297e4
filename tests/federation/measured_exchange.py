"""One step of an exchange in a process of its own. Usage: STEP ENCODING MEGABYTES, where the model has so many.

It prints the most megabytes that the step held beside what was held before it.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from fedswin.config import FederationSettings
from fedswin.federation.encoding import Tensors
from fedswin.federation.exchange import Download, ServerExchange
from fedswin.federation.site_model import SiteModel

_SHAPE = (1024, 1024)
"""Of a matrix of 4 MB."""


class Model(torch.nn.Module):
    """Matrices of so many megabytes together."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        self.layers = torch.nn.ParameterList(torch.randn(_SHAPE) for _ in range(megabytes // 4))


class Exchange:
    """A server and a site that have exchanged the model once, and the differences to it once.

    What the server hands to the site is a copy, as if it came over a network.
    """

    def __init__(self, settings: FederationSettings, megabytes: int) -> None:
        model = Model(megabytes)
        self._site = SiteModel(model, settings)
        self._server = ServerExchange(settings.exchange, _copied(dict(model.named_parameters())))
        self._site.load(_copy_of(self._server.download_for(None)))
        self._update = self._site.update()
        self._server.publish(_copied(self._server.read(self._update)))
        self._download = _copy_of(self._server.download_for(0))

    def load(self) -> None:
        """The site takes over the next model."""
        self._site.load(self._download)

    def update(self) -> None:
        """The site makes its next update beside the one before."""
        self._next = self._site.update()

    def read(self) -> None:
        """The server reads the update through, tensor by tensor."""
        deque(self._server.read(self._update).values(), maxlen=0)


def _copied(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _copy_of(download: Download) -> Download:
    return download._replace(tensors=_copied(download.tensors))


def _megabytes(which: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{which}:")]
    return int(line.split()[1]) / 1024


def most_beside(step: Callable[[], None]) -> float:
    """Return how many megabytes ``step`` holds at most, beside what was held before. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _megabytes("VmRSS")
    step()
    return _megabytes("VmHWM") - before


if __name__ == "__main__":
    step, encoding, megabytes = sys.argv[1:]
    torch.set_num_threads(1)
    exchange = Exchange(FederationSettings(exchange=encoding), int(megabytes))
    print(most_beside({"load": exchange.load, "update": exchange.update, "read": exchange.read}[step]))
