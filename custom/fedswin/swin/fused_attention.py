"""Windowed attention on a CPU by compiled kernels, for heads as small as those of small models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedswin.swin import compiled
from fedswin.swin.windows import Boxes

_LARGEST_HEAD = 8
"""Numbers of a head. With more of them the keys of a window leave the processor's first cache, and torch is faster."""


def is_fused(qkv: Tensor) -> bool:
    """Tell whether `fused_attention` takes ``qkv``, and is faster than `fedswin.swin.attention.windowed_attention`."""
    return compiled.takes(qkv) and qkv.shape[-1] <= _LARGEST_HEAD


def fused_attention(
    qkv: Tensor, padding: Tensor, biases: Sequence[Tensor], scale: float, boxes: Sequence[Boxes]
) -> Tensor:
    """Return what `fedswin.swin.attention.windowed_attention` does; as many threads of torch give the same bits."""
    attended: Tensor = _FusedAttention.apply(qkv, padding, scale, boxes, *biases)  # type: ignore[no-untyped-call]
    return attended


class _FusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, padding: Tensor, scale: float, boxes: Sequence[Boxes], *biases: Tensor
    ) -> Tensor:
        qkv, padding = qkv.contiguous(), padding.contiguous()
        out, norm = torch.empty_like(qkv[:, :, 0]), qkv.new_empty(*qkv.shape[:2], qkv.shape[3])
        for kind, bias in zip(boxes, biases, strict=True):
            given = (qkv, padding, bias, kind.tokens, np.float32(scale), out, norm)
            compiled.run(compiled.kernels.attend, *((*given, *part) for part in _parts(qkv, kind)))
        ctx.save_for_backward(qkv, padding, out, norm, *biases)
        ctx.scale, ctx.boxes = np.float32(scale), boxes
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:
        qkv, padding, out, norm, *biases = ctx.saved_tensors
        of_qkv, of_padding, of_biases = torch.empty_like(qkv), torch.zeros_like(padding), []
        for kind, bias in zip(ctx.boxes, biases, strict=True):
            given = (qkv, padding, bias, kind.tokens, ctx.scale, out, norm, of_out.contiguous(), of_qkv)
            parts = _parts(qkv, kind)
            sums = [(torch.zeros_like(padding), torch.zeros_like(bias)) for _ in parts]  # of each thread
            calls = ((*given, *own, *part) for own, part in zip(sums, parts, strict=True))
            compiled.run(compiled.kernels.gradients, *calls)
            for own, _ in sums:
                of_padding += own
            of_biases.append(sums[0][1] if len(sums) == 1 else torch.stack([own for _, own in sums]).sum(0))
        return of_qkv, of_padding, None, None, *of_biases


def _parts(qkv: Tensor, kind: Boxes) -> list[tuple[int, int]]:
    return compiled.parts(len(qkv) * len(kind.tokens))
