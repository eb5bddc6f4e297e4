"""MONAI's Swin Transformer with a window attention that needs less time and memory: same parameters, names, results."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from monai.networks.nets.swin_unetr import BasicLayer, SwinTransformerBlock, get_window_size
from torch import Tensor, nn
from torch.nn.functional import embedding

from fedswin.swin.attention import windowed_attention
from fedswin.swin.windows import Boxes, window_boxes


def use_windowed_attention(network: nn.Module) -> None:
    """Let the Swin stages of ``network`` attend with `windowed_attention`; its parameters stay what they are."""
    for module in network.modules():
        if type(module) is BasicLayer:
            module.__class__ = _Stage
        elif type(module) is SwinTransformerBlock:
            module.__class__ = _Block


class _Stage(BasicLayer):
    """MONAI's stage without the masks, which are made anew in each step and which its blocks do not need."""

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x, "b c d h w -> b d h w c")
        for block in self.blocks:
            x = block(x, None)
        if self.downsample is not None:
            x = self.downsample(x)
        return rearrange(x, "b d h w c -> b c d h w")


class _Block(SwinTransformerBlock):
    """MONAI's block, whose attention works through a few windows at a time."""

    def forward_part1(self, x: Tensor, mask_matrix: Any) -> Tensor:
        attention, shape = self.attn, tuple(x.shape[1:4])
        window, shift = get_window_size(shape, self.window_size, self.shift_size)
        boxes = window_boxes(shape, window, shift, x.device)
        heads = (3, attention.num_heads, x.shape[-1] // attention.num_heads)
        qkv = attention.qkv(self.norm1(x)).unflatten(-1, heads).flatten(1, 3)
        padding = attention.qkv.bias.unflatten(0, heads)[1:]
        # MONAI takes the first places of the whole window's index for a smaller window, too.
        index = attention.relative_position_index[: math.prod(window), : math.prod(window)]
        biases = [_bias(attention.relative_position_bias_table, index[kind.places], kind) for kind in boxes]
        attended = windowed_attention(qkv, padding, biases, attention.scale, boxes)
        return attention.proj(attended.flatten(2).unflatten(1, shape))


def _bias(table: Tensor, index: Tensor, kind: Boxes) -> Tensor:
    """Return what `windowed_attention` adds to the logits of a kind of boxes.

    All padding has the same key and value, so that it is one key whose weight is that of all.
    """
    bias = embedding(index[:, kind.places], table)
    if len(kind.padding):
        of_padding = embedding(index[:, kind.padding], table).logsumexp(dim=1, keepdim=True)
        bias = torch.cat([bias, of_padding], dim=1)
    return bias.permute(2, 0, 1).contiguous()
