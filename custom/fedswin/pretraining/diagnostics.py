"""Whether a model solves its proxy tasks, in figures that are compared with chance: see `fedswin.pretraining.verdict`.

They are of the views that a site validates on, always the same ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from fedswin.pretraining.heads import Predictions
from fedswin.training.scores import Sample, sample_of

_EPSILON = 1e-7
"""Of RankMe, for features in single precision (Garrido et al., 2023, section 3.1)."""


class ValidationViews:
    """Collects what a model makes of validation views, batch by batch."""

    def __init__(self) -> None:
        self._right: list[tuple[int, bool]] = []
        self._features: list[Tensor] = []

    def add(self, predicted: Predictions, turns: Tensor, patients: Sequence[int]) -> None:
        """Take a batch of B views.

        Args:
            predicted: what the heads say about them.
            turns: their quarter turns, (B,).
            patients: a number for the patient of each.
        """
        self._features.append(pooled_features(predicted.bottleneck))
        if predicted.rotation is not None:
            right = predicted.rotation.argmax(dim=1).cpu() == turns
            self._right += zip(patients, right.tolist(), strict=True)

    def diagnostics(self, contrastive: float | None, chance: float) -> tuple[dict[str, float], int]:
        """Return the diagnostics by name, and over how many patients the rotation accuracy is a mean.

        Args:
            contrastive: the contrastive loss over the batches, if it has a weight.
            chance: the loss of codes that are all alike, over the same batches; 0 if they have no negatives.
        """
        found: dict[str, float] = {}
        rotation = accuracy_by_patient(self._right)
        if rotation:
            found["rotation_accuracy"] = rotation.mean
            if rotation.deviation is not None:
                found["rotation_accuracy_sd"] = rotation.deviation
        if contrastive is not None and chance:
            found["contrastive_share"] = contrastive / chance
        if self._features and (features := torch.cat(self._features)).isfinite().all():
            found |= {"feature_spread": feature_spread(features), "feature_rank": rank_me(features)}
        return found, rotation.patients if rotation else 0


def accuracy_by_patient(right: Iterable[tuple[int, bool]]) -> Sample | None:
    """Return the shares of views that are right, one a patient: views of one patient do not count as independent.

    Args:
        right: of each view the patient, and whether its rotation was predicted.
    """
    views: dict[int, list[bool]] = defaultdict(list)
    for patient, is_right in right:
        views[patient].append(is_right)
    return sample_of([sum(own) / len(own) for own in views.values()])


def pooled_features(bottleneck: Tensor) -> Tensor:
    """Return the mean over the tokens of (B, width, X, Y, Z) as (B, width), in double precision on the CPU."""
    return bottleneck.detach().flatten(start_dim=2).double().mean(dim=2).cpu()


def feature_spread(features: Tensor) -> float:
    """Return the standard deviation over the views, as a mean over the features, of (views, width).

    It is 0 if all views are mapped to one point. Of features with mean square 1, such as normalised tokens and means
    of them at most have, it is 1 at most.
    """
    return float(features.std(dim=0, correction=0).mean())


def rank_me(features: Tensor) -> float:
    """Return the effective rank of (views, width): RankMe (Garrido et al., ICML 2023, equation 1).

    It is the exponential of the entropy of the singular values, as shares of their sum: 1 if all views lie on one line
    through 0, at most the smaller of the two sizes; 0 if all features are 0.
    """
    values = torch.linalg.svdvals(features)
    if not values.sum():
        return 0.0
    shares = values / values.sum() + _EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))
