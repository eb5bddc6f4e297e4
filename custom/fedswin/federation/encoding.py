"""Differences between two models in fewer bits: 16-bit floats, or 8-bit integers with one scale a channel.

``int8`` is symmetric and linear, with a scale for each slice along dimension 0 (Krishnamoorthi, "Quantizing deep
convolutional networks for efficient inference", 2018, section 2): that is the output channel of a convolution or a
linear layer, and the input channel of a transposed convolution. Tensors of fewer than two dimensions, under a
hundredth of a Swin UNETR, stay float32. ``fp16`` casts every tensor. NVFlare's own quantiser needs bitsandbytes and
keeps no account of what it rounds away; `fedswin.federation.exchange` does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedswin.config import Encoding
from fedswin.weights.file import mismatch

Tensors = dict[str, Tensor]
"""Tensors on the CPU by parameter name."""

SCALE = "..scale"
"""Ends the name of a tensor of scales. No parameter's name can: torch allows no module without a name."""

_Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]
_FLOAT16_LIMIT = torch.finfo(torch.float16).max
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny
"""The scale of a channel of zeros. Below it floats get coarser, and rounding could leave the range of int8."""


def encode(name: str, difference: Tensor, encoding: Encoding) -> Tensors:
    """Return what is sent for one tensor: the tensor under its name, and its scales if it has any.

    An entry is off by at most half its channel's scale in ``int8``, and in ``fp16`` by half a unit in the last place,
    unless it lies outside the range of float16, to which it is clipped. What is not finite has no encoding: what
    comes of it is not specified.

    Args:
        name: the parameter's name.
        difference: float32, of any shape.
        encoding: ``federation.exchange``; ``fp32`` leaves the tensor as it is.
    """
    if encoding == "fp16":
        return {name: difference.clamp(-_FLOAT16_LIMIT, _FLOAT16_LIMIT).half()}
    if encoding == "int8" and difference.dim() >= 2:
        channel = tuple(range(1, difference.dim()))
        scale = (difference.abs().amax(channel, keepdim=True) / 127).clamp(min=_SMALLEST_SCALE)
        return {name: (difference / scale).round().to(torch.int8), name + SCALE: scale}
    return {name: difference}


def decode(name: str, payload: Tensors) -> Tensor:
    """Return the float32 tensor called ``name`` of a payload without `misfit`."""
    values = payload[name].float()
    return values * payload[name + SCALE] if name + SCALE in payload else values


def misfit(payload: Tensors, encoding: Encoding, model: Tensors) -> str | None:
    """Say in what ``payload`` is not what `encode` makes of a difference to ``model``, or return ``None``.

    Names, shapes and dtypes are looked at, values are not.
    """
    expected = _layout(encoding, model)
    for name, tensor in payload.items():
        if not isinstance(tensor, Tensor):
            return f"{name} is no tensor"
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in payload.items()}
    if problem := mismatch(_shapes(expected), _shapes(found)):
        return problem
    for name, (_, dtype) in expected.items():
        if found[name][1] != dtype:
            return f"{name} is {found[name][1]}, expected {dtype}"
    return None


def _layout(encoding: Encoding, model: Tensors) -> _Layout:
    layout: _Layout = {}
    for name, tensor in model.items():
        shape = tuple(tensor.shape)
        if encoding == "int8" and len(shape) >= 2:
            layout[name] = shape, torch.int8
            layout[name + SCALE] = (shape[0], *(1 for _ in shape[1:])), torch.float32
        else:
            layout[name] = shape, torch.float16 if encoding == "fp16" else torch.float32
    return layout


def _shapes(layout: _Layout) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, (shape, _) in layout.items()}
