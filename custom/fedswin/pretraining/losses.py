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


def contrastive_loss(first: Tensor, second: Tensor, temperature: float, patients: Tensor | None = None) -> Tensor:
    """NT-Xent between the views of a batch (equation 5), averaged over all 2 N views.

    Args:
        first: codes of the first view of each sub-volume, (N, D), N >= 2.
        second: codes of the second views, (N, D), in the same order.
        temperature: t of equation 5.
        patients: the number of each sub-volume's patient, (N,), if views of the same patient are not to be negatives
            (a deviation from the paper); ``None`` takes all other views.

    Row i is a classification among all other views, whose right answer is the other view of the same
    sub-volume; so the loss is a cross entropy over cosine similarities, without the diagonal. A row that has no
    negative has a loss of 0 and no gradient, and counts in the mean.
    """
    count = len(first)
    codes = F.normalize(torch.cat([first, second]).float(), dim=1)
    with torch.autocast(codes.device.type, enabled=False):  # it would multiply in 16 bits, too few for near views
        similarity = codes @ codes.T / temperature
    similarity = similarity.masked_fill(~_candidates(count, patients, codes.device), float("-inf"))
    partner = torch.arange(2 * count, device=codes.device).roll(count)
    return F.cross_entropy(similarity, partner)


def contrastive_chance(count: int, patients: Tensor | None = None) -> float:
    """Return the contrastive loss of a model that tells no view from another: the mean of ln(candidates) over the rows.

    Args:
        count: N, the sub-volumes of a batch; without ``patients`` the chance is ln(2 N - 1).
        patients: as for `contrastive_loss`. Where all are the same there is no negative, and the chance is 0.
    """
    candidates = _candidates(count, patients, torch.device("cpu") if patients is None else patients.device)
    return float(candidates.sum(dim=1).double().log().mean())


def _candidates(count: int, patients: Tensor | None, device: torch.device) -> Tensor:
    """Return (2 N, 2 N), true where the view of the column is the partner of the row's view or a negative of it."""
    itself = torch.eye(2 * count, dtype=torch.bool, device=device)
    if patients is None:
        return ~itself
    of_view = patients.to(device).repeat(2)
    return (of_view[:, None] != of_view[None, :]) | itself.roll(count, dims=0)


def total_loss(parts: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The weighted sum of the parts (equation 6); a part that is not there counts as 0."""
    return torch.stack([getattr(weights, name) * part for name, part in parts.items()]).sum()
