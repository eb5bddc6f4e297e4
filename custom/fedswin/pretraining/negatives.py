"""How many of the contrastive loss's negatives are views of the same patient, which a small site has many of."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from fedswin.config import Job
from fedswin.errors import FedSwinError

log = logging.getLogger(__name__)


def same_patient_share(patients: Sequence[int], cases: int, crops: int) -> float:
    """Return the expected share of pairs of different sub-volumes in a batch that are of the same patient.

    Each pair of sub-volumes is four pairs of views, so it is the share of the negatives of equation 5, too. It is exact
    for `case_order`: an epoch is a random order of all cases, and batches go on over its end. So two draws of an epoch
    are of two cases, and draws of two epochs are independent of each other.

    Args:
        patients: the number of each case's patient, at least one case.
        cases: draws of a case in a batch.
        crops: sub-volumes of each drawn case; ``cases * crops`` is at least 2.
    """
    count, held = len(patients), np.array(list(Counter(patients).values()))
    in_an_epoch = (held * (held - 1)).sum() / max(count * (count - 1), 1)
    across_epochs = (held**2).sum() / count**2
    shared = _share_within_an_epoch(count, cases)
    of_two_draws = shared * in_an_epoch + (1 - shared) * across_epochs
    of_one_draw, others = crops - 1, (cases - 1) * crops  # sub-volumes that a given one is paired with
    return float((of_one_draw + others * of_two_draws) / (of_one_draw + others))


def _share_within_an_epoch(count: int, cases: int) -> float:
    """Return the share of the pairs of ``cases`` draws in a batch that lie in one epoch of ``count`` cases."""
    if cases == 1:
        return 1.0
    epochs = np.arange(cases * count // np.gcd(cases, count)).reshape(-1, cases) // count  # then it repeats
    drawn = [np.unique(batch, return_counts=True)[1] for batch in epochs]
    return float(np.mean([(number * (number - 1)).sum() for number in drawn]) / (cases * (cases - 1)))


def check_negatives(job: Job, site: str, split: str, patients: Sequence[int], progress: Callable[[str], None]) -> None:
    """Say how many pairs of views are of one patient, in the site's own log and to ``progress``.

    Args:
        job: a job with the contrastive loss.
        site: the site's name.
        split: ``training`` or ``validation``.
        patients: the number of each case's patient; nothing is said if there is no case.
        progress: is told what the log is told.

    Raises:
        FedSwinError: if training cases give no negative at all, and there is no other loss.
    """
    if not patients:
        return
    settings, batch = job.pretraining, job.trainer.batch_size
    share = same_patient_share(patients, batch // settings.crops_per_case, settings.crops_per_case)
    known = f"{split}: {len(patients)} cases of {len(set(patients))} patients, batches of {batch}"
    if settings.contrastive_negatives == "all":
        _tell(logging.INFO, f"{known}: {share:.0%} of the contrastive negatives are of a view's own patient", progress)
    elif len(set(patients)) > 1:
        _tell(logging.INFO, f"{known}: {share:.0%} of the views are no negatives, of a view's own patient", progress)
    elif split == "training" and not (settings.loss_weights.inpainting or settings.loss_weights.rotation):
        raise FedSwinError(
            f"{site} has a single patient for training. With pretraining.contrastive_negatives 'other_patients' and no "
            "loss but the contrastive one there is nothing to learn. Set it to 'all', or give another loss a weight."
        )
    else:
        _tell(logging.WARNING, f"{known}: there is no other patient, so the contrastive loss is 0", progress)


def _tell(level: int, text: str, progress: Callable[[str], None]) -> None:
    log.log(level, "%s", text)
    progress(text)
