"""The three losses of pre-training and their sum (paper, equations 3 to 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fedswin.config import LossWeights


def inpainting_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L1 over the whole sub-volume (equation 3), as a mean over voxels; both (B, 1, X, Y, Z)."""
    return F.l1_loss(predicted, target)


def rotation_loss(logits: Tensor, turns: Tensor) -> Tensor:
    """Cross entropy of the four rotations (equation 4); logits (B, 4), turns (B,) of 0 to 3."""
    return F.cross_entropy(logits, turns)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent between the views of a batch (equation 5), averaged over all 2 N views.

    Args:
        first: codes of the first view of each sub-volume, (N, D), N >= 2.
        second: codes of the second views, (N, D), in the same order.
        temperature: t of equation 5.

    Row i is a classification among all other views, whose right answer is the other view of the same
    sub-volume; so the loss is a cross entropy over cosine similarities, without the diagonal.
    """
    count = len(first)
    codes = F.normalize(torch.cat([first, second]).float(), dim=1)
    with torch.autocast(codes.device.type, enabled=False):  # it would multiply in 16 bits, too few for near views
        similarity = codes @ codes.T / temperature
    itself = torch.eye(2 * count, dtype=torch.bool, device=codes.device)
    similarity = similarity.masked_fill(itself, float("-inf"))
    partner = torch.arange(2 * count, device=codes.device).roll(count)
    return F.cross_entropy(similarity, partner)


def total_loss(parts: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The weighted sum of the parts (equation 6); a part that is not there counts as 0."""
    return torch.stack([getattr(weights, name) * part for name, part in parts.items()]).sum()
