"""Every patient goes to exactly one place, and the sites are as alike, or as skewed, as was asked for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedswin.data.datalist import Case
from fedswin.data.dealing.collection import Scan
from fedswin.data.dealing.plan import LARGEST_ALPHA, SMALLEST_ALPHA, Plan, plan_sites
from fedswin.errors import FedSwinError


def scan(source: str, name: str, patient: str) -> Scan:
    return Scan(source, name, Case(Path(f"/{source}/{name}"), None, patient))


def single_scans(kinds: Mapping[str, int]) -> tuple[list[Scan], dict[str, str]]:
    """So many patients of each kind, with one scan each; and the kind of each patient."""
    kind_of = {f"{kind}{number}": kind for kind, count in kinds.items() for number in range(count)}
    return [scan("source", patient, patient) for patient in kind_of], kind_of


@st.composite
def scans(draw: st.DrawFn) -> list[Scan]:
    """Up to 40 cases of up to 4 sources, of patients with one case or several."""
    sizes = draw(st.lists(st.integers(1, 10), min_size=1, max_size=4))
    return [
        scan(f"source{s}", f"{n}", f"{s}/{draw(st.integers(0, size))}")
        for s, size in enumerate(sizes)
        for n in range(size)
    ]


def places(plan: Plan) -> list[tuple[str, str, Scan]]:
    return [(site, split, scan) for site, splits in plan.items() for split in splits for scan in splits[split]]


def patients(splits: Mapping[str, Sequence[Scan]]) -> set[str]:
    return {scan.case.patient for of_split in splits.values() for scan in of_split}


@settings(deadline=None)
@given(st.data(), scans(), st.sampled_from(["source", "iid", "dirichlet", "quantity"]), st.integers(0, 99))
def test_every_case_lands_in_exactly_one_place(data: st.DataObject, given: list[Scan], by: Any, seed: int) -> None:
    everyone = sorted({scan.case.patient for scan in given})
    kept = frozenset(data.draw(st.sets(st.sampled_from(everyone))))
    skewed = by in ("dirichlet", "quantity")
    most = len(everyone) - len(kept) if skewed else len(everyone)
    assume(most)
    options: dict[str, Any] = {
        "by": by,
        "sites": None if by == "source" else data.draw(st.integers(1, most)),
        "alpha": data.draw(st.floats(SMALLEST_ALPHA, LARGEST_ALPHA)) if skewed else None,
        "kinds": {patient: data.draw(st.sampled_from("ABC")) for patient in everyone} if by == "dirichlet" else None,
        "kept": kept,
        "seed": seed,
        "validation": data.draw(st.floats(0, 0.49)),
        "test": data.draw(st.floats(0, 0.5)),
    }
    plan = plan_sites(given, **options)

    found = places(plan)
    assert Counter(scan for _, _, scan in found) == Counter(given)
    where = defaultdict(set)
    for site, split, scan in found:
        where[scan.case.patient].add((site, split))
    assert all(len(spots) == 1 for spots in where.values())
    assert all(split == "test" for _, split, scan in found if scan.case.patient in kept)
    assert len(plan) == (options["sites"] or len({scan.source for scan in given}))
    for splits in plan.values():
        assert bool(splits["training"]) == bool(patients(splits) - kept)
        assert splits["training"] or not skewed

    shuffled = data.draw(st.permutations(given))
    assert plan_sites(shuffled, **options) == plan


def test_by_source_and_iid_deal_as_they_did_for_the_recorded_results() -> None:
    given = [scan("abc"[number % 3], f"{number}", f"p{number // 2}") for number in range(12)]

    def names(by: Any, sites: int | None) -> dict[str, list[str]]:
        plan = plan_sites(given, by=by, sites=sites, seed=7)
        return {site: [" ".join(scan.name for scan in of) for of in splits.values()] for site, splits in plan.items()}

    assert names("source", None) == {"a": ["9 6", "0", "3"], "b": ["10 1", "7", "4"], "c": ["11 5", "2", "8"]}
    assert names("iid", 3) == {
        "site_1": ["9 8", "10 11", ""],
        "site_2": ["0 1", "3 2", ""],
        "site_3": ["6 7", "4 5", ""],
    }


def with_labels(scans: Sequence[Scan], labelled: int) -> list[Scan]:
    """The same scans, of which the first ``labelled`` have a label map."""
    return [
        replace(scan, case=replace(scan.case, label=Path(f"/label/{scan.key}") if number < labelled else None))
        for number, scan in enumerate(scans)
    ]


def test_collections_in_which_all_have_labels_are_dealt_as_those_in_which_none_has() -> None:
    given, kinds = single_scans({"A": 20, "B": 9})
    for by in ("source", "iid", "dirichlet", "quantity"):
        options: dict[str, Any] = {"by": by, "sites": None if by == "source" else 3, "kinds": kinds, "seed": 5}
        bare, full = (plan_sites(with_labels(given, count), **options) for count in (0, 29))
        assert [(a, b, c.key) for a, b, c in places(bare)] == [(a, b, c.key) for a, b, c in places(full)]


@pytest.mark.parametrize("by", ["source", "iid", "dirichlet", "quantity"])
def test_test_holds_labels_alone_and_no_split_that_is_scored_is_without_one(by: Any) -> None:
    """The Decathlon's Task02: 20 cases with a label, 10 without, at up to three sites, dealt 200 times."""
    given, _ = single_scans({"A": 30})
    given = with_labels(given, 20)
    for seed in range(200):
        plan = plan_sites(given, by=by, sites=None if by == "source" else 3, seed=seed, alpha=5)
        for splits in plan.values():
            labelled = {split: [s for s in of_split if s.case.label] for split, of_split in splits.items()}
            assert labelled["test"] == splits["test"]
            count = sum(map(len, labelled.values()))
            assert bool(labelled["training"]) == (count > 0)
            assert bool(labelled["validation"]) == (count > 1)
            assert bool(labelled["test"]) == (count > 2)
        if by == "iid":  # alike in labels, too
            assert sorted(sum(bool(s.case.label) for of in p.values() for s in of) for p in plan.values()) == [6, 7, 7]


def test_of_patients_without_a_label_only_who_is_test_elsewhere_is_test() -> None:
    given, _ = single_scans({"A": 12})
    given = with_labels(given, 6)
    kept = frozenset({"A0", "A11"})
    plan = plan_sites(given, by="source", kept=kept, test=0.5)
    assert {s.case.patient for s in plan["source"]["test"]} == kept | {
        s.case.patient for s in plan["source"]["test"] if s.case.label
    }


def test_where_labels_leave_validation_empty_it_takes_others() -> None:
    given, _ = single_scans({"A": 11})
    splits = plan_sites(with_labels(given, 1), by="source")["source"]
    assert [scan.name for scan in splits["training"] if scan.case.label] == ["A0"]
    assert [len(splits[split]) for split in ("training", "validation", "test")] == [9, 2, 0]


def test_without_shares_everyone_trains_in_the_order_of_the_recorded_results() -> None:
    given, _ = single_scans({"A": 9})
    for labelled in (0, 4, 9):
        plan = plan_sites(with_labels(given, labelled), by="quantity", sites=3, seed=3, validation=0, test=0)
        found = {site: [scan.name for scan in splits["training"]] for site, splits in plan.items()}
        assert found == {"site_1": ["A0", "A1", "A3", "A2", "A7"], "site_2": ["A5", "A4", "A6"], "site_3": ["A8"]}


def shares(by: Any, alpha: float, seeds: int, sites: int) -> NDArray[np.float64]:
    """The share of each site in the patients of each of two kinds, of 150 each; (seeds, kinds, sites)."""
    given, kinds = single_scans({"A": 150, "B": 150})
    drawn = []
    for seed in range(seeds):
        plan = plan_sites(given, by=by, sites=sites, alpha=alpha, kinds=kinds if by == "dirichlet" else None, seed=seed)
        drawn.append([[sum(kinds[p] == kind for p in patients(plan[site])) / 150 for site in plan] for kind in "AB"])
    return np.array(drawn)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0, 1000.0])
@pytest.mark.parametrize("by", ["dirichlet", "quantity"])
def test_shares_have_the_mean_and_variance_of_the_dirichlet_distribution(by: str, alpha: float) -> None:
    sites, seeds = 4, 120
    found = shares(by, alpha, seeds, sites)
    sizes = found.mean(axis=1) if by == "quantity" else found[:, 0]
    variance = (sites - 1) / sites**2 / (sites * alpha + 1)
    # The error of the mean over seeds, and what rounding to whole patients and filling empty sites add.
    np.testing.assert_allclose(sizes.mean(axis=0), 1 / sites, atol=4 * np.sqrt(variance / seeds) + 0.01)
    np.testing.assert_allclose(sizes.var(axis=0).mean(), variance, rtol=0.25, atol=1e-4)


def test_kinds_are_dealt_independently_by_dirichlet_and_alike_by_quantity() -> None:
    def correlation(by: str) -> float:
        found = shares(by, 0.5, 60, 4)
        return float(np.corrcoef(found[:, 0].ravel(), found[:, 1].ravel())[0, 1])

    assert abs(correlation("dirichlet")) < 0.2
    assert correlation("quantity") > 0.95


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(5, 25), min_size=1, max_size=3), st.integers(0, 99))
def test_the_largest_alpha_gives_every_site_the_same_number_of_each_kind(
    sites: int, sizes: list[int], seed: int
) -> None:
    given, kinds = single_scans(dict(zip("ABC", sizes, strict=False)))
    plan = plan_sites(given, by="dirichlet", sites=sites, alpha=LARGEST_ALPHA, kinds=kinds, seed=seed)
    for kind, size in Counter(kinds.values()).items():
        for splits in plan.values():
            assert abs(sum(kinds[patient] == kind for patient in patients(splits)) - size / sites) < 1


def test_the_smallest_alpha_gives_each_kind_to_one_site_but_for_the_patients_that_fill_the_others() -> None:
    largest = shares("dirichlet", SMALLEST_ALPHA, seeds=40, sites=4).max(axis=2)
    assert largest.mean() > 1 - 3 / 150
    assert (largest > 0.9).mean() > 0.95


def test_another_seed_deals_otherwise() -> None:
    given, kinds = single_scans({"A": 9, "B": 9})
    dealt = [plan_sites(given, by="dirichlet", sites=3, kinds=kinds, seed=seed) for seed in (0, 0, 1)]
    assert dealt[0] == dealt[1] != dealt[2]


def test_without_alpha_the_shares_are_those_of_one_half() -> None:
    given, _ = single_scans({"A": 30})
    default = plan_sites(given, by="quantity", sites=3)
    assert default == plan_sites(given, by="quantity", sites=3, alpha=0.5)
    assert default != plan_sites(given, by="quantity", sites=3, alpha=50)


def test_patients_that_are_test_elsewhere_do_not_make_a_site() -> None:
    given, _ = single_scans({"A": 4})
    kept = frozenset({"A0", "A1"})
    with pytest.raises(FedSwinError, match="3 sites, but 2 patients to train on. Ask for fewer sites"):
        plan_sites(given, by="quantity", sites=3, kept=kept)
    plan = plan_sites(given, by="quantity", sites=2, kept=kept, alpha=SMALLEST_ALPHA)
    assert all(splits["training"] for splits in plan.values())
