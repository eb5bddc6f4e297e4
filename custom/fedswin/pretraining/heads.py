"""The model of pre-training: the Swin encoder and one head for each proxy task (paper, figure 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from fedswin.config import Job, ModelSettings, PretrainingSettings
from fedswin.swin.encoder import build_encoder

ROTATIONS = 4


class Predictions(NamedTuple):
    """What the heads say about a batch of B views; ``None`` for a task whose loss has no weight.

    Attributes:
        volume: the inpainted views, (B, 1, X, Y, Z).
        rotation: logits of the four rotations, (B, 4).
        embedding: contrastive codes, (B, embedding size), not normalised.
        bottleneck: what the heads read: the encoder's last map, (B, 16 C, X/32, Y/32, Z/32), each of whose tokens
            MONAI has normalised over its features.
    """

    volume: Tensor | None
    rotation: Tensor | None
    embedding: Tensor | None
    bottleneck: Tensor


class SwinPretrainer(nn.Module):
    """The encoder, as ``swinViT`` like in MONAI's ``SwinUNETR``, with a head for each task that has a weight."""

    def __init__(self, model: ModelSettings, settings: PretrainingSettings) -> None:
        super().__init__()
        width, weights = 16 * model.feature_size, settings.loss_weights
        self.swinViT = build_encoder(model)  # MONAI's name, so that the tensors carry the same keys
        self.reconstruction = _reconstruction_head(width, settings) if weights.inpainting else None
        self.rotation = _rotation_head(width, settings) if weights.rotation else None
        self.contrastive = nn.Linear(width, settings.embedding_size) if weights.contrastive else None
        self._pooling = settings.token_pooling

    def forward(self, views: Tensor) -> Predictions:
        """Return the predictions for ``views`` of shape (B, 1, X, Y, Z)."""
        bottleneck = self.swinViT(views)[-1]
        return Predictions(
            self.reconstruction(bottleneck) if self.reconstruction else None,
            self.rotation(self._read(bottleneck, 0)) if self.rotation else None,
            self.contrastive(self._read(bottleneck, 1)) if self.contrastive else None,
            bottleneck,
        )

    def _read(self, bottleneck: Tensor, token: int) -> Tensor:
        """Return the (B, width) that a head reads: the mean over the tokens, or its own ``token``."""
        tokens = bottleneck.flatten(start_dim=2)
        return tokens.mean(dim=2) if self._pooling == "mean" else tokens[:, :, token]


def build_pretrainer(job: Job) -> SwinPretrainer:
    """Return the pre-training model of ``job``, initialised from the job's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        return SwinPretrainer(job.model, job.pretraining)


class _OneTransposedConvolution(nn.ConvTranspose3d):
    """To one channel, with a stride as long as the kernel. So it is a matrix product, in which form a CPU is faster."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return (B, 1, k X, k Y, k Z) for ``x`` of shape (B, channels, X, Y, Z) and a kernel of side k."""
        _, _, depth, height, width = x.shape
        i, j, k = self.kernel_size
        bias = self.bias if self.bias is not None else 0.0
        blocks = x.flatten(2).mT @ self.weight.flatten(1)
        sizes = {"x": depth, "y": height, "z": width, "i": i, "j": j, "k": k}
        return rearrange(blocks, "b (x y z) (i j k) -> b 1 (x i) (y j) (z k)", **sizes) + bias


def _reconstruction_head(width: int, settings: PretrainingSettings) -> nn.Module:
    if settings.reconstruction_head == "transposed":
        return _OneTransposedConvolution(width, 1, kernel_size=32, stride=32)
    halvings = [width >> number for number in range(6)]
    if settings.reconstruction_head == "deconv5":
        return _stages(halvings, _transpose_convolve)
    return _stages([*halvings[:5], halvings[4]], _convolve_and_upsample)


def _stages(widths: Sequence[int], stage: Callable[[int, int], list[nn.Module]]) -> nn.Module:
    """Chain a stage of x2 between each two ``widths``, and a convolution to one channel."""
    modules = [module for of, to in pairwise(widths) for module in stage(of, to)]
    return nn.Sequential(*modules, nn.Conv3d(widths[-1], 1, kernel_size=1))


def _transpose_convolve(of: int, to: int) -> list[nn.Module]:
    return [nn.ConvTranspose3d(of, to, kernel_size=2, stride=2), nn.GELU()]


def _convolve_and_upsample(of: int, to: int) -> list[nn.Module]:
    return [
        nn.Conv3d(of, to, kernel_size=3, padding=1),
        nn.InstanceNorm3d(to),
        nn.LeakyReLU(),
        nn.Upsample(scale_factor=2, mode="trilinear"),
    ]


def _rotation_head(width: int, settings: PretrainingSettings) -> nn.Module:
    if settings.rotation_head == "linear":
        return nn.Linear(width, ROTATIONS)
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, ROTATIONS))
