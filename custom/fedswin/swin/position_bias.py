"""The bias of relative positions in Swin's windows (Liu et al., 2021, equation 4), for boxes of tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding

from fedswin.swin import compiled
from fedswin.swin.windows import Boxes


def position_bias(table: Tensor, index: Tensor, kind: Boxes) -> Tensor:
    """Return what is added to the logits of a kind of boxes.

    All padding has the same key and value, so that it is one key whose weight is that of all.

    Args:
        table: the bias of each relative position, (positions, heads).
        index: the relative position of each pair of places in a window, (places, places).
        kind: boxes of T tokens.

    Returns:
        (heads, T, T), or if they see padding (heads, T, T + 1), contiguous.
    """
    if compiled.takes(table):
        looked_up: Tensor = _LookUp.apply(table, index, kind)  # type: ignore[no-untyped-call]
        return looked_up
    index = index[kind.places]
    bias = embedding(index[:, kind.places], table)
    if len(kind.padding):
        of_padding = embedding(index[:, kind.padding], table).logsumexp(dim=1, keepdim=True)
        bias = torch.cat([bias, of_padding], dim=1)
    return bias.permute(2, 0, 1).contiguous()


class _LookUp(torch.autograd.Function):
    """In the backward pass each difference is added to its position at once, where torch's look-up sorts them first."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, kind: Boxes) -> Tensor:
        tokens = len(kind.places)
        # numba compiles for each layout, and does not notice if what it has kept is for another one.
        index = index.contiguous()
        bias = table.new_empty(table.shape[1], tokens, tokens + bool(len(kind.padding)))
        compiled.run(compiled.kernels.look_up_bias, (table, index, kind.places, kind.padding, bias))
        ctx.save_for_backward(table, index, bias)
        ctx.kind = kind
        return bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_bias: Tensor) -> tuple[Tensor | None, ...]:
        table, index, bias = ctx.saved_tensors
        of_table = torch.zeros_like(table)
        given = (table, index, ctx.kind.places, ctx.kind.padding, bias, of_bias.contiguous(), of_table)
        compiled.run(compiled.kernels.gradient_of_table, given)
        return of_table, None, None
