"""Which of a site's patients are for training, validation and test: drawn by patient, never by case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from fedswin.errors import FedSwinError

T = TypeVar("T")


def by_patient(items: Sequence[T], patient_of: Callable[[T], str]) -> list[list[T]]:
    """Group ``items`` by patient, in the order in which the patients appear."""
    groups: defaultdict[str, list[T]] = defaultdict(list)
    for item in items:
        groups[patient_of(item)].append(item)
    return list(groups.values())


def require_shares(validation: float, test: float) -> None:
    """Check the shares of the patients that are for validation and test.

    Raises:
        FedSwinError: if one is negative, or they leave none to train on.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise FedSwinError(
            f"validation {validation} and test {test} leave nothing to train on, or are negative. "
            "Their sum must be below 1."
        )


def split(patients: Sequence[Sequence[T]], *, validation: float, test: float, in_test: int = 0) -> dict[str, list[T]]:
    """Deal patients to splits, in their order: first test, then validation, then training.

    Each share is rounded, to one patient at least, in a site of three patients or more. Of two, one is for
    validation, because a federated site scores every round on its validation cases; a single one is for training.

    Args:
        patients: the items of each patient, shuffled.
        validation, test: the share of the patients for each.
        in_test: so many patients, the first ones, are test whatever the shares.

    Returns:
        The items of ``training``, ``validation`` and ``test``.
    """
    n_validation = _share(len(patients), validation, room=len(patients) - in_test - 1)
    n_test = max(in_test, _share(len(patients), test, room=len(patients) - n_validation - 1))
    groups = {
        "training": patients[n_test + n_validation :],
        "validation": patients[n_test : n_test + n_validation],
        "test": patients[:n_test],
    }
    return {name: [item for group in groups[name] for item in group] for name in groups}


def _share(patients: int, share: float, *, room: int) -> int:
    return max(0, min(room, max(1, round(patients * share)))) if share else 0
