"""Cross-validation at a site: which of its cases are for training and which for validation in one fold."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from fedswin.config import Job
from fedswin.data.datalist import Case, Site
from fedswin.seeds import generator


def in_fold(site: Site, job: Job) -> Site:
    """Return ``site`` with training and validation cases as fold ``data.fold`` has them (paper, section 5.2).

    Training and validation cases are dealt out anew, by patient; test cases stay. The deal depends on the job's seed,
    the site's name and its patients, not on the order of the datalist; cases of several sites that were pooled are
    dealt out as at each site. A site of fewer patients than folds has folds without validation cases. Without
    ``data.fold`` the site stays as it is.
    """
    if job.data.fold is None:
        return site
    cases = [*site.cases("training"), *site.cases("validation")]
    patients: defaultdict[str, set[str]] = defaultdict(set)
    for case in cases:
        patients[case.site or site.name].add(case.patient)
    folds = {name: fold_of_patients(own, job.data.folds, job.seed, name) for name, own in patients.items()}

    def chosen(held_out: bool) -> list[Case]:
        return [case for case in cases if (folds[case.site or site.name][case.patient] == job.data.fold) == held_out]

    return replace(site, splits={**site.splits, "training": chosen(False), "validation": chosen(True)})


def fold_of_patients(patients: set[str], folds: int, seed: int, site: str) -> dict[str, int]:
    """Deal patients to ``folds`` folds, whose sizes differ by one at most."""
    ordered = sorted(patients)
    order = generator(seed, site, "folds").permutation(len(ordered))
    return {ordered[number]: place % folds for place, number in enumerate(order)}
