"""The segmentation network as TorchScript: one file that runs without MONAI, in Python or C++."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedswin.config import DataSettings
from fedswin.durable import written_whole
from fedswin.exporting.facts import facts
from fedswin.exporting.network import noise, stock_network
from fedswin.weights.file import Weights

FACTS = "fedswin.json"
"""The extra file, in the TorchScript file, with what a tool has to know of the model."""
NETWORK = "network"
"""What the traced module calls MONAI's network."""


class _ShapeGuard(nn.Module):
    """Refuses images that are not of the traced size, for which the network would fail or give something else.

    It is scripted, for tracing forgets what Python checks.

    Args:
        data: says the channels and the size.
    """

    def __init__(self, data: DataSettings) -> None:
        super().__init__()
        self.shape = [len(data.channels), *data.roi]

    def forward(self, image: Tensor) -> Tensor:
        found = list(image.shape[1:])
        if found != self.shape:
            raise ValueError(f"The image has the shape [batch] + {found}. This model takes [batch] + {self.shape}.")
        return image


class _ZerosWithImage(TorchFunctionMode):
    """Makes zeros on the image's device; tracing would write this machine's into the file, which then ran on no other.

    MONAI's network makes its attention masks of zeros, in every call.

    Args:
        image: what the network sees.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._zero = torch.zeros_like(image.flatten()[0])

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.zeros:
            return self._zero.expand(args[0]).clone()
        return function(*args, **kwargs or {})


class _Guarded(nn.Module):
    def __init__(self, network: nn.Module, data: DataSettings) -> None:
        super().__init__()
        self.guard = torch.jit.script(_ShapeGuard(data))
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        with _ZerosWithImage(image):
            logits: Tensor = self.network(self.guard(image))
        return logits


def save_torchscript(weights: Weights, path: Path) -> None:
    """Trace the network at the job's ROI, for batches of any size, and write it with its facts in ``FACTS``.

    Raises:
        FedSwinError: if the tensors are not those of the job's network.
    """
    network = stock_network(weights)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the size is fixed, and that TorchScript is old
        guarded = _Guarded(network, weights.job.data).eval()
        # Two in the batch, for with one a size of 1 could be taken for fixed; traced once, as no part draws numbers
        traced = torch.jit.trace(guarded, noise(weights, batch=2), check_trace=False)
        with written_whole(path) as file:
            torch.jit.save(traced, file, _extra_files={FACTS: json.dumps(facts(weights))})
