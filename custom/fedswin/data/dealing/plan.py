"""Which site each patient goes to, and which split there: by source, alike by chance, or skewed as hospitals are."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from fedswin.data.dealing.apportion import apportion
from fedswin.data.dealing.collection import Scan
from fedswin.data.dealing.splits import by_patient, split_by_label
from fedswin.errors import FedSwinError
from fedswin.seeds import generator

By = Literal["source", "iid", "dirichlet", "quantity"]
SKEWED = ("dirichlet", "quantity")

Plan = Mapping[str, Mapping[str, Sequence[Scan]]]
"""The scans of each split of each site."""

Patient = Sequence[Scan]
"""All scans of one patient, which stay together."""

DEFAULT_ALPHA = 0.5
"""What Li et al. use, for both kinds of skew."""
SMALLEST_ALPHA, LARGEST_ALPHA = 0.001, 1_000_000
"""At the one, a kind is nearly always at a single site; at the other, all sites are alike. Far beyond them, numpy's
draws are no longer shares."""


def plan_sites(
    scans: Sequence[Scan],
    *,
    by: By,
    sites: int | None = None,
    alpha: float | None = None,
    kinds: Mapping[str, str] | None = None,
    kept: frozenset[str] = frozenset(),
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> Plan:
    """Decide which split of which site each scan goes to; nothing is read or written.

    ``dirichlet`` and ``quantity`` are the label skew and the quantity skew of Li et al., "Federated Learning on Non-IID
    Data Silos: An Experimental Study", ICDE 2022, with patients in place of images: for each kind of patient, the
    sites' shares are drawn from a symmetric Dirichlet distribution, and the patients of the kind are dealt out at
    random in these proportions. In ``quantity`` all patients are of one kind, so sites differ in size alone. Where Li
    et al. draw again until no site is too small, a site without a patient to train on is given one by the site that has
    most; with few patients and a small ``alpha`` no number of draws might do.

    Args:
        scans: the cases, in any order.
        by: see `fedswin.data.dealing.shard.shard`.
        sites: the number of sites; not for ``source``.
        alpha: the concentration of the Dirichlet distribution: small is skewed, large is alike.
        kinds: the kind of each patient, for ``dirichlet``; see `fedswin.data.dealing.kinds.patient_kinds`.
        kept: these patients are test whatever the shares.
        seed: draws sites and splits.
        validation, test: the share of a site's patients for each; see `fedswin.data.dealing.splits.split_by_label`.

    Raises:
        FedSwinError: if there are fewer patients than ``sites``.
    """
    if by == "source":
        dealt = _by_source(scans)
    elif by == "iid":
        dealt = _by_chance(scans, sites or 1, kept, random.Random(seed))
    else:
        dealt = _skewed(scans, sites or 1, alpha or DEFAULT_ALPHA, kinds or {}, kept, generator(seed, "sites"))
    return {site: _split(mine, kept, random.Random(f"{seed}/{site}"), validation, test) for site, mine in dealt.items()}


def _by_source(scans: Sequence[Scan]) -> dict[str, list[Scan]]:
    dealt: defaultdict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        dealt[scan.source].append(scan)
    return dict(dealt)


def _by_chance(scans: Sequence[Scan], sites: int, kept: frozenset[str], rng: random.Random) -> dict[str, list[Scan]]:
    dealt: dict[str, list[Scan]] = {name: [] for name in _site_names(sites)}
    patients = sorted(_shuffled(scans, kept, rng), key=lambda group: _turn(group, kept))
    if len(patients) < sites:
        raise FedSwinError(f"{sites} sites, but {len(patients)} patients. Ask for fewer sites.")
    for patient in patients:
        min(dealt.values(), key=len).extend(patient)
    return dealt


def _turn(patient: Patient, kept: frozenset[str]) -> tuple[bool, bool]:
    """Return when a patient is dealt: alike sites have as many of the kept ones, and as many with a label."""
    return patient[0].case.patient not in kept, not any(map(_has_label, patient))


def _skewed(
    scans: Sequence[Scan],
    sites: int,
    alpha: float,
    kinds: Mapping[str, str],
    kept: frozenset[str],
    rng: np.random.Generator,
) -> dict[str, list[Scan]]:
    dealt: list[list[Patient]] = [[] for _ in range(sites)]
    for patients in _by_kind(scans, kinds):
        counts = apportion(len(patients), rng.dirichlet([alpha] * sites))
        parts = np.split(rng.permutation(len(patients)), counts.cumsum()[:-1])
        for site, part in zip(dealt, parts, strict=True):
            site.extend(patients[place] for place in part)
    _leave_none_without_training(dealt, kept)
    return {
        name: [scan for patient in site for scan in patient]
        for name, site in zip(_site_names(sites), dealt, strict=True)
    }


def _by_kind(scans: Sequence[Scan], kinds: Mapping[str, str]) -> list[list[Patient]]:
    groups: defaultdict[str, list[Patient]] = defaultdict(list)
    for patient in _in_order(scans):
        groups[kinds.get(patient[0].case.patient, "")].append(patient)
    return [groups[kind] for kind in sorted(groups)]


def _leave_none_without_training(dealt: Sequence[list[Patient]], kept: frozenset[str]) -> None:
    """Move a patient to each site that has none outside ``kept``, from the site that has most."""

    def trainable(site: list[Patient]) -> list[Patient]:
        return [patient for patient in site if patient[0].case.patient not in kept]

    patients = sum(len(trainable(site)) for site in dealt)
    if patients < len(dealt):
        raise FedSwinError(f"{len(dealt)} sites, but {patients} patients to train on. Ask for fewer sites.")
    for site in dealt:
        if not trainable(site):
            richest = max(dealt, key=lambda other: len(trainable(other)))
            moved = trainable(richest)[-1]
            richest.remove(moved)
            site.append(moved)


def _site_names(sites: int) -> list[str]:
    return [f"site_{number}" for number in range(1, sites + 1)]


def _in_order(scans: Sequence[Scan]) -> list[list[Scan]]:
    return by_patient(sorted(scans, key=lambda scan: scan.key), lambda scan: scan.case.patient)


def _shuffled(scans: Sequence[Scan], kept: frozenset[str], rng: random.Random) -> list[list[Scan]]:
    patients = _in_order(scans)
    rng.shuffle(patients)
    return sorted(patients, key=lambda group: group[0].case.patient not in kept)


def _split(
    scans: Sequence[Scan], kept: frozenset[str], rng: random.Random, validation: float, test: float
) -> dict[str, list[Scan]]:
    patients = _shuffled(scans, kept, rng)
    in_test = [number for number, group in enumerate(patients) if group[0].case.patient in kept]
    return split_by_label(patients, _has_label, validation=validation, test=test, in_test=in_test)


def _has_label(scan: Scan) -> bool:
    return scan.case.is_labelled
