"""All faults of a site are found at once, in a fixed order, and pre-training leaves labels alone."""

from __future__ import annotations

import builtins
import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from data.check.small_site import HU, LABEL, case, save
from fedswin.config import SegmentationSettings
from fedswin.data.annotation import Annotation
from fedswin.data.check import Demands, Finding, check_site, require_sound
from fedswin.data.datalist import Case, Site, read_site, write_datalist
from fedswin.data.dealing.shard import shard
from fedswin.errors import FedSwinError

TUMOUR = SegmentationSettings(classes={"tumour": 1})


def faults(
    site: Site, labels: SegmentationSettings | None, *, read_labels: bool = True, **options: Any
) -> list[Finding]:
    return check_site(site, Demands(labels, read_labels), **options).findings


@pytest.fixture
def sound(tmp_path: Path) -> Site:
    folder = tmp_path / "north wing"
    cases = [case(folder, f"case {number}") for number in range(4)]
    write_datalist(folder, {"training": cases[:2], "validation": cases[2:3], "test": cases[3:]})
    return read_site(folder)


@pytest.fixture
def faulty(tmp_path: Path) -> Site:
    folder = tmp_path / "south"
    cut = case(folder, "cut")
    cut.image.write_bytes(cut.image.read_bytes()[:-200])
    two_faults = case(folder, "two_faults", label=LABEL * 9, spacing=1.5)
    shifted = case(folder, "shifted", image=HU + 1024)
    write_datalist(folder, {"training": [cut, case(folder, "fine"), two_faults], "test": [shifted]})
    return read_site(folder)


def test_a_sound_site_has_no_findings(sound: Site) -> None:
    assert faults(sound, TUMOUR) == []


def test_every_fault_is_found_with_its_place_and_fix(faulty: Site) -> None:
    labels = SegmentationSettings(classes={"tumour": 1, "edema": [2, 3]})
    findings = faults(faulty, labels)
    assert [(finding.severity, finding.where) for finding in findings] == [
        ("error", "south/images/cut.nii.gz"),
        ("error", "south/labels/two_faults.nii.gz"),
        ("error", "south/labels/two_faults.nii.gz"),
        ("warning", "south/images/shifted.nii.gz"),
    ]
    words = ["cannot be read", "unknown label values: 9", "mm off its image", "shifted by +1024"]
    for finding, problem in zip(findings, words, strict=True):
        assert problem in finding.problem
        assert finding.fix


@pytest.mark.parametrize(
    "labels", [{"classes": {"tumour": 1, "other": 9}}, {"classes": {"tumour": [1, 9]}}, {"background": [1, 9]}, None]
)
def test_a_label_value_may_be_a_class_s_or_background_or_any(faulty: Site, labels: Any) -> None:
    labels = SegmentationSettings(**labels) if labels else None
    findings = faults(faulty, labels)
    assert not [finding for finding in findings if "unknown label" in finding.problem]


def test_workers_change_nothing(faulty: Site) -> None:
    alone = faults(faulty, TUMOUR)
    assert faults(faulty, TUMOUR, workers=4) == alone


def test_progress_counts_the_cases(sound: Site) -> None:
    seen: list[tuple[int, int]] = []
    faults(sound, None, read_labels=False, progress=lambda *count: seen.append(count))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_pretraining_never_touches_a_label(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for labelled in (sound.folder / "labels").iterdir():
        labelled.write_text("no NIfTI at all")
    touched: list[str] = []

    def spy(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(path: Any, *args: Any, **options: Any) -> Any:
            touched.append(str(path))
            return original(path, *args, **options)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in ((Path, "stat"), (Path, "open"), (builtins, "open"), (gzip, "open"), (nib, "load")):
        spy(owner, name)
    assert faults(sound, TUMOUR, read_labels=False) == []
    assert any("images" in path for path in touched)
    assert not [path for path in touched if "labels" in path]


def test_a_site_without_training_cases(sound: Site) -> None:
    empty = Site(sound.name, sound.folder, {"test": sound.cases("test")})
    (finding,) = faults(empty, None)
    assert (finding.severity, finding.where) == ("error", "north wing/datalist.json")
    assert finding.problem == "there is no training case"


def test_a_file_outside_the_site_is_named_in_full(sound: Site, tmp_path: Path) -> None:
    outside = save(tmp_path, "archive/flat.nii.gz", HU[0])
    site = Site("north", sound.folder, {"training": [Case(outside)]})
    (finding,) = faults(site, None)
    assert finding.where == str(outside)


def test_require_sound_lists_every_error_and_returns_the_warnings(faulty: Site) -> None:
    findings = faults(faulty, TUMOUR)
    with pytest.raises(FedSwinError) as refusal:
        require_sound(findings)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 1 + 3
    assert all(f"{finding.where}: {finding.problem}. {finding.fix}" in str(refusal.value) for finding in findings[:3])
    assert require_sound(findings[3:]) == findings[3:]
    assert require_sound([], strict=True) == []
    with pytest.raises(FedSwinError, match=r"shifted by \+1024"):
        require_sound(findings[3:], strict=True)


def test_a_finding_reads_as_a_sentence() -> None:
    finding = Finding("error", "a/b.nii", "is 2-D", "Take it out.")
    assert str(finding) == "a/b.nii: is 2-D. Take it out."


def annotated(site: Site, *names: str, **label_map: str) -> Site:
    """Return the site with a datalist that says so; ``label_map`` as ``v9="tumour"``."""
    own = {value[1:]: name for value, name in label_map.items()}
    write_datalist(site.folder, site.splits, **({"annotated": names} if names else {}), label_map=own)
    return read_site(site.folder)


def test_the_site_s_own_label_values_are_known(faulty: Site) -> None:
    findings = faults(annotated(faulty, v9="tumour"), TUMOUR)
    assert not [finding for finding in findings if "unknown label" in finding.problem]


def test_voxels_of_a_class_that_is_not_annotated_are_an_error(sound: Site) -> None:
    labels = SegmentationSettings(classes={"edema": 5, "tumour": 1})
    assert faults(annotated(sound, "tumour"), labels) == []
    findings = faults(annotated(sound, "edema"), labels)
    assert [(finding.severity, finding.where) for finding in findings] == [
        ("error", f"north wing/labels/case {number}.nii.gz") for number in range(4)
    ]
    assert findings[0].problem == "holds 'tumour', which the datalist does not list as annotated"


def test_a_case_is_checked_by_its_own_list(sound: Site) -> None:
    labels = SegmentationSettings(classes={"edema": 5, "tumour": 1})
    lists = [("edema",), (5,), (1,), ("tumour",)]
    cases = [case for split in ("training", "validation", "test") for case in sound.cases(split)]
    cases = [replace(case, annotation=Annotation(own)) for case, own in zip(cases, lists, strict=True)]
    write_datalist(sound.folder, {"training": cases})
    findings = faults(read_site(sound.folder), labels)
    assert [finding.where for finding in findings] == [f"north wing/labels/case {number}.nii.gz" for number in (0, 1)]
    assert {finding.problem for finding in findings} == {
        "holds 'tumour', which the datalist does not list as annotated"
    }


def test_a_case_whose_list_does_not_fit_the_job_is_named_with_its_place(sound: Site) -> None:
    cases = [
        replace(case, annotation=Annotation((name,))) for case, name in zip(sound.cases("training"), "ab", strict=True)
    ]
    write_datalist(sound.folder, {"training": cases}, label_map={"7": "cyst"})
    found = [finding.problem for finding in faults(read_site(sound.folder), TUMOUR)]
    assert found == [
        "training[0]: 'annotated' names 'a', which is not a class of the job",
        "training[1]: 'annotated' names 'b', which is not a class of the job",
    ]
    cases = [replace(case, annotation=Annotation((1, value))) for case, value in zip(cases, (2, 3), strict=True)]
    write_datalist(sound.folder, {"training": cases}, label_map={"7": "cyst"})
    [finding] = faults(read_site(sound.folder), TUMOUR)  # of the label map, and so once
    assert "'label_map' names 'cyst', which is not a class of the job" in finding.problem


def test_a_datalist_that_does_not_fit_the_job_is_one_error_beside_the_files_own(faulty: Site) -> None:
    findings = faults(annotated(faulty, "tumor"), TUMOUR)
    assert [finding.where for finding in findings if finding.severity == "error"] == [
        "south/datalist.json",
        "south/images/cut.nii.gz",
        "south/labels/two_faults.nii.gz",
    ]
    assert "'annotated' names 'tumor', which is not a class of the job (did you mean 'tumour'?)" in findings[0].problem
    without_labels = faults(annotated(faulty, "tumor"), TUMOUR, read_labels=False)
    assert [finding.where for finding in without_labels] == ["south/images/cut.nii.gz", "south/images/shifted.nii.gz"]


def test_real_ct_is_sound(real_ct: Path, tmp_path: Path) -> None:
    shard(real_ct, tmp_path / "sites", by="source")
    for name in ("organs", "sarcoma", "unlabelled"):
        assert faults(read_site(tmp_path / "sites" / name), None) == []
