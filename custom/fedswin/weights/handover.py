"""From one job's model to the next: which tensors go over, which are new, which do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.tasks import build_model
from fedswin.weights.file import Weights, parameters

ENCODER = "swinViT."
"""The prefix of the encoder's tensors, in pre-training and in MONAI's ``SwinUNETR``."""


@dataclass(frozen=True)
class Handover:
    """The initial state of a job, and how it came about.

    Attributes:
        tensors: every parameter of the job's model.
        matched: names taken over from the weights.
        new: names that the weights do not hold; they keep the initialisation of the job's seed.
        unfit: names outside the encoder that both hold in different shapes; they are initialised too.
        unused: names that the weights hold and the model has no place for.
    """

    tensors: Mapping[str, Tensor]
    matched: list[str]
    new: list[str]
    unfit: list[str]
    unused: list[str]

    def summary(self) -> str:
        """One line for a person."""
        encoder = sum(name.startswith(ENCODER) for name in self.matched)
        return (
            f"{len(self.matched)} tensors matched ({encoder} of the encoder), {len(self.new)} new, "
            f"{len(self.unfit)} did not fit, {len(self.unused)} unused"
        )


def initial_state(job: Job, weights: Weights | None = None, where: str = "the weights") -> Handover:
    """Return the parameters a study starts from: the job's seed, overlaid with ``weights``.

    Raises:
        FedSwinError: if no tensor matches, or one of the encoder has another shape.
    """
    fresh = parameters(build_model(job))
    given = dict(weights.tensors) if weights else {}
    shared = [name for name in fresh if name in given]
    matched = [name for name in shared if given[name].shape == fresh[name].shape]
    unfit = [name for name in shared if given[name].shape != fresh[name].shape]
    if weights:
        _refuse_misfit(matched, unfit, where)
    return Handover(
        tensors={**fresh, **{name: given[name] for name in matched}},
        matched=matched,
        new=[name for name in fresh if name not in given],
        unfit=unfit,
        unused=[name for name in given if name not in fresh],
    )


def _refuse_misfit(matched: list[str], unfit: list[str], where: str) -> None:
    if not matched:
        raise FedSwinError(f"{where}: none of the tensors matches the job's model. Is it a file of another network?")
    encoder = [name for name in unfit if name.startswith(ENCODER)]
    if encoder:
        raise FedSwinError(
            f"{where}: {len(encoder)} encoder tensors have another shape than the job's model, {encoder[0]} among "
            "them. Set model.feature_size to that of the weights."
        )
