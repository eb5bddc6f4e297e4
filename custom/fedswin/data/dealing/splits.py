"""Which of a site's patients are for training, validation and test: drawn by patient, never by case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
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


def split_by_label(
    patients: Sequence[Sequence[T]],
    has_label: Callable[[T], bool],
    *,
    validation: float,
    test: float,
    in_test: Collection[int] = (),
) -> dict[str, list[T]]:
    """Deal patients to splits as `split` does, and so that no one without a label is for test.

    Where some patients have a label and others have none, the shares are those of the patients with one, and the others
    are for training: a test or validation split that happens to hold no label would score nothing. Validation takes its
    share of the others only where those with a label leave it empty, for pre-training is validated, too.

    Args:
        patients: the items of each patient, shuffled, those of ``in_test`` first.
        has_label: whether an item has a label; a patient has one who has an item with one.
        validation, test: the share of the patients for each.
        in_test: the numbers of patients who are test whatever the shares and their labels.
    """
    labelled = [number for number, items in enumerate(patients) if any(map(has_label, items))]
    others = [number for number in range(len(patients)) if number not in labelled]
    if not labelled or not others:
        return split(patients, validation=validation, test=test, in_test=len(in_test))
    kept = [sum(number in in_test for number in group) for group in (labelled, others)]
    places = split([[number] for number in labelled], validation=validation, test=test, in_test=kept[0])
    rest = split(
        [[number] for number in others], validation=0 if places["validation"] else validation, test=0, in_test=kept[1]
    )
    chosen = {name: sorted([*places[name], *rest[name]]) for name in places}
    return {name: [item for number in chosen[name] for item in patients[number]] for name in chosen}


def _share(patients: int, share: float, *, room: int) -> int:
    return max(0, min(room, max(1, round(patients * share)))) if share else 0
