"""What crosses between a site and the server: floating-point parameters, name by name, and scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from fedswin.weights.file import load_parameters, parameters

Arrays = dict[str, np.ndarray]
"""A model on the wire: float32 arrays by parameter name."""


def pack(model: nn.Module) -> Arrays:
    """Copy the model's floating-point parameters; integer buffers stay where they are."""
    return {name: tensor.numpy() for name, tensor in parameters(model).items()}


def unpack(model: nn.Module, arrays: Mapping[str, Any], where: str) -> None:
    """Load ``arrays`` into the model; names and shapes must be exactly the model's.

    Raises:
        FedSwinError: if they are not.
    """
    load_parameters(model, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, where)


def size_of(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the bytes of the arrays' values."""
    return sum(array.nbytes for array in arrays.values())
