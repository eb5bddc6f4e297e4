"""A patient's kind is the source, and within it the rarest class that the patient shows."""

from __future__ import annotations

from pathlib import Path

from fedswin.data.datalist import Case
from fedswin.data.dealing.collection import Scan
from fedswin.data.dealing.kinds import patient_kinds

SHOWN: dict[Path, frozenset[str]] = {}


def scan(source: str, name: str, *classes: str, patient: str = "", labelled: bool = True) -> Scan:
    label = Path(f"/{source}/{name}/label.nii.gz") if labelled else None
    if label:
        SHOWN[label] = frozenset(classes)
    return Scan(source, name, Case(Path(f"/{source}/{name}/ct.nii.gz"), label, patient or f"{source}/{name}"))


def test_without_label_maps_a_kind_is_a_source() -> None:
    scans = [scan("north", "a", labelled=False), scan("north", "b", labelled=False), scan("south", "a", labelled=False)]
    assert patient_kinds(scans, {}) == {
        "north/a": "north: unlabelled",
        "north/b": "north: unlabelled",
        "south/a": "south: unlabelled",
    }


def test_the_rarest_class_of_the_source_decides() -> None:
    scans = [
        scan("liver", "a", "1"),
        scan("liver", "b", "1", "2"),
        scan("liver", "c", "1", "2", "3"),
        scan("liver", "d"),
        scan("liver", "e", labelled=False),
        scan("tumour", "a", "1"),
    ]
    assert patient_kinds(scans, SHOWN) == {
        "liver/a": "liver: 1",
        "liver/b": "liver: 2",
        "liver/c": "liver: 3",
        "liver/d": "liver: background only",
        "liver/e": "liver: unlabelled",
        "tumour/a": "tumour: 1",
    }


def test_rarity_counts_patients_not_cases_and_a_patient_has_one_kind() -> None:
    visits = [scan("s", f"visit {number}", "2", patient="often seen") for number in range(5)]
    others = [scan("s", f"other {number}", "1") for number in range(3)]
    both = scan("s", "both", "1", patient="often seen")
    kinds = patient_kinds([*others, *visits, both], SHOWN)
    assert kinds == {"often seen": "s: 2", **{f"s/other {number}": "s: 1" for number in range(3)}}


def test_of_equally_rare_classes_the_first_decides() -> None:
    assert patient_kinds([scan("s", "tie", "10", "9", "aorta")], SHOWN) == {"s/tie": "s: 9"}
