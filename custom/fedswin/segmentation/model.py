"""The segmentation network: MONAI's Swin UNETR (paper, section 3.2), or a linear layer on its encoder."""

from __future__ import annotations

import torch
from monai.networks.nets import SwinUNETR
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fedswin.config import Job
from fedswin.swin.encoder import build_encoder, set_attention


class LinearSegmenter(nn.Module):
    """The encoder, and a 1x1x1 convolution of each of its five feature maps to the classes, upsampled and summed.

    Interpolation and convolution exchange, so this is one 1x1x1 convolution on the five feature maps, upsampled to the
    sub-volume and concatenated, without an array of that size: a linear probe of the encoder at each voxel.

    Args:
        job: decides about the encoder, the channels and the classes.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        width, classes = job.model.feature_size, 1 + len(job.segmentation.classes)
        self.swinViT = build_encoder(job.model, len(job.data.channels))  # MONAI's name, so that the keys are the same
        # One bias for all, since five would add up to one.
        self.out = nn.ModuleList(nn.Conv3d(width << level, classes, 1, bias=not level) for level in range(5))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, 1 + classes, X, Y, Z) for ``image`` of shape (B, channels, X, Y, Z)."""
        logits = image.new_zeros(())
        for convolution, features in zip(self.out, self.swinViT(image), strict=True):
            logits = logits + interpolate(convolution(features), image.shape[2:], mode="trilinear")
        return logits


def build_segmenter(job: Job) -> nn.Module:
    """Return the network of ``job``, as ``segmentation.decoder`` says, initialised from the job's seed.

    It maps (B, channels, X, Y, Z) to logits (B, 1 + classes, X, Y, Z); channel 0 is background. The encoder is
    ``swinViT``, and from the same seed the same with either decoder.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        if job.segmentation.decoder == "linear":
            return LinearSegmenter(job)
        network = SwinUNETR(
            in_channels=len(job.data.channels),
            out_channels=1 + len(job.segmentation.classes),
            feature_size=job.model.feature_size,
            use_checkpoint=job.model.gradient_checkpointing,
        )
    set_attention(network, job.model)
    return network
