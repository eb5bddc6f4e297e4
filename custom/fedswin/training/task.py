"""What a trainer needs to know of a task: the contract between the science and everything around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from fedswin.data.planes import Picture
from fedswin.training.scores import Validation


class Task(Protocol):
    """A model, its loss on one batch, and its score on the validation cases.

    A batch is a function of its number alone, so a task keeps no position and needs no state of its own when a study
    is resumed. While the model trains on a batch, a thread makes the next one: `batch` must not touch what `losses`
    does. A process that trains alone takes batch s in step s of the study; see `Ranks.batch_number`.
    """

    @property
    def model(self) -> nn.Module:
        """The model, on its device."""
        ...

    @property
    def training_cases(self) -> int:
        """How many cases the task trains on."""
        ...

    @property
    def annotated_cases(self) -> Mapping[str, int]:
        """How many training cases annotate each class; empty for a task without labels."""
        ...

    @property
    def validation_cases(self) -> int:
        """How many cases `validate` scores."""
        ...

    def batch(self, number: int) -> Any:
        """Return the site's batch ``number`` (0, 1, 2 … over the whole study), on the CPU."""
        ...

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the scalar ``loss`` to minimise and its parts, each under its own name.

        The tensors of ``batch`` are on the CPU or on the model's device.
        """
        ...

    def validate(self) -> Validation:
        """Score the model on the validation cases; the same model gives the same numbers, always.

        There are no metrics if there are no validation cases.
        """
        ...

    def pictures(self) -> Mapping[str, Picture]:
        """Draw what the model did when it was validated last, by name, for the site's own people.

        It changes nothing that training or scoring depends on.
        """
        ...
