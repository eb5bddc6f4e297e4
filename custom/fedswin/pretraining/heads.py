"""The model of pre-training: the Swin encoder and one head for each proxy task (paper, figure 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedswin.config import Job, ModelSettings, PretrainingSettings
from fedswin.swin.encoder import build_encoder

ROTATIONS = 4


class Predictions(NamedTuple):
    """What the heads say about a batch of B views.

    Attributes:
        volume: the inpainted views, (B, 1, X, Y, Z).
        rotation: logits of the four rotations, (B, 4).
        embedding: contrastive codes, (B, embedding size), not normalised.
    """

    volume: Tensor
    rotation: Tensor
    embedding: Tensor


class SwinPretrainer(nn.Module):
    """The encoder, as ``swinViT`` like in MONAI's ``SwinUNETR``, with its three heads.

    Rotation and contrastive heads read the mean over the bottleneck's tokens.
    """

    def __init__(self, model: ModelSettings, settings: PretrainingSettings) -> None:
        super().__init__()
        width = 16 * model.feature_size
        self.swinViT = build_encoder(model)  # MONAI's name, so that the tensors carry the same keys
        self.reconstruction = _reconstruction_head(width, settings)
        self.rotation = _rotation_head(width, settings)
        self.contrastive = nn.Linear(width, settings.embedding_size)

    def forward(self, views: Tensor) -> Predictions:
        """Return the three predictions for ``views`` of shape (B, 1, X, Y, Z)."""
        bottleneck = self.swinViT(views)[-1]
        tokens = bottleneck.mean(dim=(2, 3, 4))
        return Predictions(self.reconstruction(bottleneck), self.rotation(tokens), self.contrastive(tokens))


def build_pretrainer(job: Job) -> SwinPretrainer:
    """Return the pre-training model of ``job``, initialised from the job's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        return SwinPretrainer(job.model, job.pretraining)


def _reconstruction_head(width: int, settings: PretrainingSettings) -> nn.Module:
    if settings.reconstruction_head == "transposed":
        return nn.ConvTranspose3d(width, 1, kernel_size=32, stride=32)
    stages: list[nn.Module] = []
    for _ in range(5):
        stages += [nn.ConvTranspose3d(width, width // 2, kernel_size=2, stride=2), nn.GELU()]
        width //= 2
    return nn.Sequential(*stages, nn.Conv3d(width, 1, kernel_size=1))


def _rotation_head(width: int, settings: PretrainingSettings) -> nn.Module:
    if settings.rotation_head == "linear":
        return nn.Linear(width, ROTATIONS)
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, ROTATIONS))
