"""Windowed attention that never holds the attention of all windows: it works through a few at a time.

It does so again in the backward pass, so that nothing is kept between the two but the tokens' queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from fedswin.swin import compiled
from fedswin.swin.windows import Boxes

_AT_A_TIME = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Numbers of an attention matrix that are held at a time: on a CPU 1 MB, which its cache holds; on a GPU 128 MB, in 16
bits, which keeps it busy."""

Gradients = tuple[Tensor, ...]
"""Of queries, keys, values and the bias."""


def windowed_attention(
    qkv: Tensor, padding: Tensor, biases: Sequence[Tensor], scale: float, boxes: Sequence[Boxes]
) -> Tensor:
    """Return what each token gathers from the tokens of its box, and from padding if there is any.

    Args:
        qkv: queries, keys and values, (B, tokens, 3, heads, head size).
        padding: key and value of padding, (2, heads, head size).
        biases: what is added to the logits in each kind of boxes, (heads, T, T), or if they see padding (heads, T,
            T + 1), in float32.
        scale: what the products of queries and keys are multiplied by.
        boxes: the kinds of boxes, each token in one, on the same device.

    Returns:
        (B, tokens, heads, head size).
    """
    # On a CPU autocast would multiply in 16 bits, too few for the differences between logits.
    with torch.autocast(
        qkv.device.type, enabled=qkv.device.type != "cpu" and torch.is_autocast_enabled(qkv.device.type)
    ):
        attended: Tensor = _WindowedAttention.apply(qkv, padding, scale, boxes, *biases)  # type: ignore[no-untyped-call]
    return attended


class _WindowedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, padding: Tensor, scale: float, boxes: Sequence[Boxes], *biases: Tensor
    ) -> Tensor:
        ctx.save_for_backward(qkv, padding, *biases)
        ctx.scale, ctx.boxes = scale, boxes
        out = torch.empty_like(qkv[:, :, :1])
        attend = attend_on_cpu if qkv.device.type == "cpu" else attend_on_gpu
        for kind, bias in zip(boxes, biases, strict=True):
            bias = bias.to(qkv.dtype)
            for tokens in _few_at_a_time(kind, qkv):
                query, key, value = _take_padded(qkv, tokens, padding, bias)
                _put(out, tokens, attend(query, key, value, bias, scale)[None])
        return out[:, :, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:
        qkv, padding, *biases = ctx.saved_tensors
        of_qkv, of_padding, of_biases = torch.empty_like(qkv), torch.zeros_like(padding), []
        gradients = gradients_on_cpu if qkv.device.type == "cpu" else gradients_on_gpu
        for kind, bias in zip(ctx.boxes, biases, strict=True):
            of_bias, bias = torch.zeros_like(bias), bias.to(qkv.dtype)
            for tokens in _few_at_a_time(kind, qkv):
                query, key, value = _take_padded(qkv, tokens, padding, bias)
                [of_rows] = _take(of_out[:, :, None], tokens)
                of_query, of_key, of_value, of_these = gradients(query, key, value, bias, ctx.scale, of_rows)
                count = query.shape[2]
                _put(of_qkv, tokens, torch.stack([of_query, of_key[:, :, :count], of_value[:, :, :count]]))
                of_padding += torch.stack([of_key[:, :, count:], of_value[:, :, count:]]).sum((1, 3))
                of_bias += of_these
            of_biases.append(of_bias)
        return of_qkv, of_padding, None, None, *of_biases


def attend_on_cpu(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return ``scaled_dot_product_attention``, which takes more time on a CPU where heads are as small as Swin's.

    Args:
        query: (N, heads, Q, head size).
        key: (N, heads, K, head size).
        value: (N, heads, K, head size).
        bias: what is added to the logits, (heads, Q, K).
        scale: what the products of queries and keys are multiplied by.

    Returns:
        (N, heads, Q, head size).
    """
    return _attention(query * scale, key, bias) @ value


def gradients_on_cpu(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float, of_out: Tensor
) -> Gradients:
    """Return the gradients of what `attend_on_cpu` is given, from ``of_out``, that of its result."""
    query = query * scale
    attention = _attention(query, key, bias)
    of_logits = of_out @ value.mT
    if compiled.takes(of_logits):
        of_bias = torch.zeros_like(bias)
        rows = compiled.parts(bias.shape[0] * bias.shape[1])
        compiled.run(compiled.kernels.softmax_gradient, *((attention, of_logits, of_bias, *part) for part in rows))
    else:
        of_logits.sub_((of_logits * attention).sum(-1, keepdim=True)).mul_(attention)
        of_bias = of_logits.sum(0)
    return (of_logits @ key).mul_(scale), of_logits.mT @ query, attention.mT @ of_out, of_bias


def attend_on_gpu(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return what `attend_on_cpu` does, by the kernels that torch has for a GPU."""
    return scaled_dot_product_attention(query, key, value, attn_mask=bias[None], scale=scale)


def gradients_on_gpu(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float, of_out: Tensor
) -> Gradients:
    """Return what `gradients_on_cpu` does, by the kernels that torch has for a GPU."""
    with torch.enable_grad():
        query, key, value, bias = (tensor.detach().requires_grad_() for tensor in (query, key, value, bias))
        out = attend_on_gpu(query, key, value, bias, scale)
    return torch.autograd.grad(out, (query, key, value, bias), of_out)


def _attention(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    logits = query @ key.mT
    if not compiled.takes(logits):
        return torch.softmax(logits.add_(bias), dim=-1)
    rows = compiled.parts(bias.shape[0] * bias.shape[1])
    compiled.run(compiled.kernels.softmax, *((logits, bias, *part) for part in rows))
    return logits


def _few_at_a_time(kind: Boxes, qkv: Tensor) -> Iterator[Tensor]:
    """Yield the tokens of so many boxes of a kind as may be attended to at a time."""
    size = qkv.shape[0] * qkv.shape[3] * len(kind.places) ** 2
    yield from kind.tokens.split(max(1, _AT_A_TIME[qkv.device.type] // size))


def _take_padded(qkv: Tensor, tokens: Tensor, padding: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of boxes, (B x boxes, heads, places, head size), with padding as the last key."""
    query, key, value = _take(qkv, tokens)
    if bias.shape[2] > query.shape[2]:
        more = padding[:, None, :, None].to(qkv.dtype).expand(-1, len(query), -1, -1, -1)
        key, value = torch.cat([key, more[0]], dim=2), torch.cat([value, more[1]], dim=2)
    return query, key, value


def _take(tokens: Tensor, numbers: Tensor) -> Tensor:
    """Return the tokens (B, tokens, parts, heads, head size) of boxes: (parts, B x boxes, heads, places, head size)."""
    taken = tokens.index_select(1, numbers.reshape(-1)).unflatten(1, numbers.shape).flatten(0, 1)
    return taken.permute(2, 0, 3, 1, 4).contiguous()


def _put(tokens: Tensor, numbers: Tensor, rows: Tensor) -> None:
    """Put rows where `_take` takes them from; no number is there twice."""
    rows = rows.permute(1, 3, 0, 2, 4).unflatten(0, (len(tokens), len(numbers))).flatten(1, 2)
    tokens.index_copy_(1, numbers.reshape(-1), rows)
