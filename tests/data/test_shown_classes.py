"""Label maps are read for the classes they show, by the datalist's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.volumes import write_label
from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case
from fedswin.data.shown_classes import annotated_names, class_order, label_values, name_values
from fedswin.errors import FedSwinError


def case(folder: Path, name: str, *values: float, annotation: Annotation | None = None) -> Case:
    label = write_label(folder / f"{name}.nii.gz", *values)
    return Case(folder / "ct.nii.gz", label, name, annotation or Annotation())


def test_classes_are_label_values_without_background(tmp_path: Path) -> None:
    cases = [case(tmp_path, "one", 2, 11), case(tmp_path, "none"), Case(tmp_path / "ct.nii.gz")]
    assert label_values(cases) == {cases[0].label: {0, 2, 11}, cases[1].label: {0}}
    assert name_values(cases, label_values(cases)) == {cases[0].label: {"2", "11"}, cases[1].label: frozenset()}


def test_the_datalist_s_names_stand_for_values_and_background_is_left_out(tmp_path: Path) -> None:
    own = Annotation(label_map={1: "kidneys", 2: "kidneys", 3: "background"})
    known = Annotation(label_map="totalsegmentator_v2")
    cases = [case(tmp_path, "own", 1, 2, 3, 4, annotation=own), case(tmp_path, "known", 5, 10, annotation=known)]
    assert name_values(cases, label_values(cases)) == {cases[0].label: {"kidneys", "4"}, cases[1].label: {"liver"}}


def test_what_was_annotated_is_named_likewise_whether_the_datalist_lists_names_or_values() -> None:
    def of(annotated: tuple[str, ...] | tuple[int, ...] | None) -> frozenset[str] | None:
        return annotated_names(Case(Path("ct"), annotation=Annotation(annotated, {1: "kidneys", 3: "background"})))

    assert of(None) is None
    assert of(()) == frozenset()
    assert of(("kidneys",)) == {"kidneys"}
    assert of((1, 3, 4)) == {"kidneys", "4"}


def test_every_label_map_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    cut = case(tmp_path, "cut", 1)
    assert cut.label
    cut.label.write_bytes(cut.label.read_bytes()[:-9])
    with pytest.raises(FedSwinError) as refusal:
        label_values([case(tmp_path, "fine", 1), cut, case(tmp_path, "half", 0.5)])
    first, *faults = str(refusal.value).splitlines()
    assert first == "Label maps that cannot be read: 2 of 3."
    assert [fault.split(": ")[0] for fault in faults] == [f"- {tmp_path / name}.nii.gz" for name in ("cut", "half")]
    assert "not whole numbers: 0.5" in faults[1]


def test_progress_is_told_before_each_label_map(tmp_path: Path) -> None:
    told: list[str] = []
    label_values([case(tmp_path, "one", 1), case(tmp_path, "two", 1)], told.append)
    assert told == ["reading label map 1 of 2", "reading label map 2 of 2"]


def test_label_values_are_ordered_by_number_and_come_before_names() -> None:
    assert sorted(["spleen", "10", "9", "aorta"], key=class_order) == ["9", "10", "aorta", "spleen"]
