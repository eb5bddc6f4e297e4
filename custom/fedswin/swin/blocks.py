"""MONAI's Swin Transformer with a window attention that needs less time and memory: same parameters, names, results."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from monai.networks.nets.swin_unetr import BasicLayer, SwinTransformerBlock, get_window_size
from torch import Tensor, nn

from fedswin.swin.attention import windowed_attention
from fedswin.swin.fused_attention import fused_attention, is_fused
from fedswin.swin.position_bias import position_bias
from fedswin.swin.windows import window_boxes


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
        if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16:  # it would be slower, and its results worse
            qkv, padding = qkv.float(), padding.float()
        biases = [position_bias(attention.relative_position_bias_table, index, kind) for kind in boxes]
        attend = fused_attention if is_fused(qkv) else windowed_attention
        attended = attend(qkv, padding, biases, attention.scale, boxes)
        return attention.proj(attended.flatten(2).unflatten(1, shape))
