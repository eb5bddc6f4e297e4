"""The Swin Transformer encoder, with the settings of the paper's section 3.1."""

from __future__ import annotations

from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from fedswin.config import ModelSettings
from fedswin.swin.blocks import use_windowed_attention

DEPTHS = (2, 2, 2, 2)
HEADS = (3, 6, 12, 24)
WINDOW = (7, 7, 7)
PATCH = (2, 2, 2)


def build_encoder(settings: ModelSettings, channels: int = 1) -> SwinTransformer:
    """Return MONAI's Swin Transformer, by default for single-channel CT.

    It maps (B, channels, X, Y, Z) to five feature maps; the last one, the bottleneck, has the shape
    (B, 16 C, X/32, Y/32, Z/32). MONAI's ``SwinUNETR`` holds the same module as ``swinViT``.
    """
    encoder = SwinTransformer(
        in_chans=channels,
        embed_dim=settings.feature_size,
        window_size=WINDOW,
        patch_size=PATCH,
        depths=DEPTHS,
        num_heads=HEADS,
        use_checkpoint=settings.gradient_checkpointing,
        norm_layer=nn.LayerNorm,
        spatial_dims=3,
    )
    set_attention(encoder, settings)
    return encoder


def set_attention(network: nn.Module, settings: ModelSettings) -> None:
    """Let MONAI's Swin stages within ``network`` attend as ``model.attention`` says."""
    if settings.attention == "windowed":
        use_windowed_attention(network)
