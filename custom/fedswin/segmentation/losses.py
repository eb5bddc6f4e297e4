"""The loss of fine-tuning: Dice and cross entropy, over the classes that a label map can show."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses import DiceCELoss
from torch import Tensor

# As in the paper's code (SwinUNETR/BTCV/main.py of Project-MONAI/research-contributions, without and with
# --squared_dice), and smoothed as there. Most crops show few of the organs, so it matters what the others add. The
# squared Dice of a class that is not there has no gradient, as its numerator is not smoothed. The plain one, with
# MONAI's 1e-5 in numerator and denominator, has one of 2e-5 at most (absolute values, summed over all logits) while a
# voxel's worth of the class is predicted, and of 1/2 whatever is predicted: about as much as a class that is there
# has.
_PLAIN = DiceCELoss(to_onehot_y=True, softmax=True)
_SQUARED = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-6)


def segmentation_loss(
    logits: Tensor, label: Tensor, annotated: Sequence[tuple[int, ...]], *, squared: bool = False
) -> Tensor:
    """Dice loss plus cross entropy, the marginal loss where not all classes are annotated.

    The marginal loss (Shi et al., "Marginal loss and exclusion loss for partially supervised multi-organ
    segmentation", MedIA 2021) takes background and all unannotated classes for one class. Both terms are
    means over the batch, so one whose crops are annotated differently has the mean of the crops' losses.

    Args:
        logits: (B, 1 + classes, X, Y, Z); channel 0 is background.
        label: class indices, (B, 1, X, Y, Z).
        annotated: for each of the B, the indices of its annotated classes, ascending.
        squared: whether the probabilities and the targets in the Dice loss's denominator are squared.

    Returns:
        A scalar.
    """
    if len(set(annotated)) > 1:
        crops = [slice(number, number + 1) for number in range(len(annotated))]
        losses = [segmentation_loss(logits[crop], label[crop], annotated[crop], squared=squared) for crop in crops]
        return torch.stack(losses).mean()
    return (_SQUARED if squared else _PLAIN)(*merge_unannotated(logits, label, annotated[0]))


def merge_unannotated(logits: Tensor, label: Tensor, annotated: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Merge the unannotated classes into background, so that its probability is the sum of theirs.

    The logarithm of a sum of exponentials is the logit of that sum, so softmax needs no other change. A label voxel of
    an unannotated class, which the data check refuses, becomes background, as what is merged holds its class.

    Args:
        logits: (B, 1 + classes, X, Y, Z).
        label: class indices, (B, 1, X, Y, Z).
        annotated: the indices of the annotated classes, ascending.

    Returns:
        Logits (B, 1 + annotated, X, Y, Z), and the label with indices to match; both unchanged if all are annotated.
    """
    channels = logits.split(1, dim=1)
    unannotated = [index for index in range(1, len(channels)) if index not in annotated]
    if not unannotated:
        return logits, label
    background = torch.cat([channels[index] for index in (0, *unannotated)], dim=1).logsumexp(dim=1, keepdim=True)
    merged = torch.zeros(len(channels), dtype=torch.long, device=label.device)
    merged[list(annotated)] = torch.arange(1, 1 + len(annotated), device=label.device)
    return torch.cat([background, *(channels[index] for index in annotated)], dim=1), merged[label.long()]
