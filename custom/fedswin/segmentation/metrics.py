"""The overlap of a predicted label map with its reference (paper, equation 7)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from monai.metrics import DiceHelper
from torch import Tensor

from fedswin.training.scores import Score, mean_scores


def dice_by_class(
    predicted: Tensor, reference: Tensor, classes: Sequence[str], annotated: Collection[str] | None = None
) -> dict[str, Score]:
    """Dice of each annotated class between two label maps, and ``dice``, their mean.

    Args:
        predicted: class indices, (1, X, Y, Z).
        reference: class indices, (1, X, Y, Z).
        classes: the names of classes 1, 2, …
        annotated: the classes that the reference can show; the others are left out. All by default.

    Returns:
        ``dice`` and ``dice_<class>``; ``None`` for a class that the reference does not hold, as in
        MONAI's ``DiceMetric``.
    """
    helper = DiceHelper(include_background=False, num_classes=1 + len(classes), reduction="none", get_not_nans=False)
    values = helper(predicted[None], reference[None])[0].tolist()
    by_class: dict[str, Score] = {
        f"dice_{name}": None if value != value else value
        for name, value in zip(classes, values, strict=True)
        if annotated is None or name in annotated
    }
    mean = mean_scores([{"dice": value} for value in by_class.values()])
    return {"dice": mean.get("dice"), **by_class}
