"""Every fault that is planted in a site is found by name, and a sound site has none, whatever its files are called."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from data.check.small_site import Voxels, case, hu, save
from end_to_end import tiny
from fedswin.data import volume
from fedswin.data.check.survey import survey
from fedswin.data.datalist import Case, write_datalist

FINETUNE = tiny.job({**tiny.FINETUNE, "segmentation": {"classes": {"tumour": 1, "organ": [2, 3]}}})


def write_site(folder: Path, **cases: list[Case]) -> Path:
    write_datalist(folder, cases)
    return folder


def sound(folder: Path) -> Path:
    """Write a site of two training cases, one for validation and one for the test; no two are alike."""
    cases = [case(folder, f"case{number}", hu(number)) for number in range(4)]
    return write_site(folder, training=cases[:2], validation=cases[2:3], test=cases[3:])


def found(folder: Path, **options: Any) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.where, finding.problem) for finding in survey(folder, **options).findings]


def image(site: Path, name: str = "case0") -> Path:
    return site / f"images/{name}.nii.gz"


def label(site: Path) -> Path:
    return site / "labels/case0.nii.gz"


def rewrite(path: Path, change: Callable[[Voxels], Voxels], affine: Any = None) -> None:
    voxels = change(np.asanyarray(nib.load(path).dataobj))
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)


def patch(path: Path, offset: int, values: Voxels) -> None:
    """Write over the header of a gzip file, as nibabel itself would not."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[offset : offset + values.nbytes] = values.tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def edit(site: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((site / "datalist.json").read_text())
    change(content)
    (site / "datalist.json").write_text(json.dumps(content))


def truncate(site: Path) -> None:
    image(site).write_bytes(image(site).read_bytes()[:-100])


def empty(site: Path) -> None:
    image(site).write_bytes(b"")


def text(site: Path) -> None:
    image(site).write_text("to be sent later")


def four_d(site: Path) -> None:
    rewrite(image(site), lambda voxels: np.stack([voxels, voxels], -1))


def zero_sized(site: Path) -> None:
    patch(image(site), 42, np.array([8, 0, 10], "<i2"))  # dim


def not_a_number(site: Path) -> None:
    rewrite(image(site), lambda voxels: np.where(voxels == 40, np.nan, voxels).astype(np.float32))


def singular(site: Path) -> None:
    patch(image(site), 280, np.array([1, 1, 0, 0, 1, 1, 0, 0], "<f4"))  # srow_x, srow_y


def another_shape(site: Path) -> None:
    rewrite(label(site), lambda voxels: voxels[:-1])


def shifted_5_mm(site: Path) -> None:
    moved = np.eye(4)
    moved[2, 3] = 5
    rewrite(label(site), lambda voxels: voxels, moved)


def fractions(site: Path) -> None:
    rewrite(label(site), lambda voxels: (voxels * 0.5).astype(np.float32))


def unknown_value(site: Path) -> None:
    rewrite(label(site), lambda voxels: voxels * np.uint8(9))


def empty_label_map(site: Path) -> None:
    rewrite(label(site), np.zeros_like)


def eight_bits(site: Path) -> None:
    rewrite(image(site), lambda voxels: np.clip(voxels / 8 + 128, 0, 255).astype(np.uint8))


def stored_values(site: Path) -> None:
    rewrite(image(site), lambda voxels: (voxels + 1024).astype(np.uint16))


def rescaled_twice(site: Path) -> None:
    rewrite(image(site), lambda voxels: voxels - np.int16(1024))


def normalised(site: Path) -> None:
    rewrite(image(site), lambda voxels: ((voxels + 1000) / 1300).astype(np.float32))


def constant(site: Path) -> None:
    rewrite(image(site), lambda voxels: np.full_like(voxels, -1000))


def missing(site: Path) -> None:
    image(site).unlink()


def label_missing(site: Path) -> None:
    label(site).unlink()


def outside(site: Path) -> None:
    image(site).rename(site.parent / "archive.nii.gz")
    edit(site, lambda content: content["training"][0].update(image="../archive.nii.gz"))


def patient_in_two_splits(site: Path) -> None:
    edit(site, lambda content: content["test"][0].update(patient="case0"))


def no_list(site: Path) -> None:
    (site / "datalist.json").write_text('{"training": [')


IMAGE, LABEL_FILE, DATALIST = "a/images/case0.nii.gz", "a/labels/case0.nii.gz", "a/datalist.json"
PLANTED = {
    "truncated gzip": (truncate, "error", IMAGE, "cannot be read as NIfTI"),
    "empty file": (empty, "error", IMAGE, "cannot be read as NIfTI"),
    "text file": (text, "error", IMAGE, "cannot be read as NIfTI"),
    "4-D": (four_d, "error", IMAGE, "is 4-D, of shape (8, 9, 10, 2)"),
    "zero-sized axis": (zero_sized, "error", IMAGE, "impossible shape (8, 0, 10)"),
    "NaN": (not_a_number, "error", IMAGE, "voxels are NaN or infinite"),
    "singular affine": (singular, "error", IMAGE, "two axes point the same way"),
    "label of another shape": (another_shape, "error", LABEL_FILE, "has shape (7, 9, 10), but its image (8, 9, 10)"),
    "label shifted": (shifted_5_mm, "error", LABEL_FILE, "lies up to 5 mm off its image"),
    "label with fractions": (fractions, "error", LABEL_FILE, "label values are not whole numbers: 0.5"),
    "empty label map": (empty_label_map, "warning", LABEL_FILE, "holds nothing but background"),
    "8 bits": (eight_bits, "warning", IMAGE, "squeezed to 8 bits"),
    "stored values": (stored_values, "warning", IMAGE, "add -1024"),
    "rescaled twice": (rescaled_twice, "warning", IMAGE, "add 1024"),
    "normalised": (normalised, "warning", IMAGE, "all voxels lie within 0..1: they are normalised"),
    "constant": (constant, "warning", IMAGE, "holds one value only"),
    "missing image": (missing, "error", IMAGE, "there is no such file"),
    "missing label": (label_missing, "error", LABEL_FILE, "there is no such file"),
    "patient in two splits": (patient_in_two_splits, "error", DATALIST, "in both 'training' and 'test': patient case0"),
    "broken datalist": (no_list, "error", DATALIST, "is not valid JSON"),
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return sound(tmp_path / "sites" / "a")


@pytest.mark.parametrize(("plant", "severity", "where", "words"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_the_one_thing_that_is_found(
    site: Path, plant: Callable[[Path], None], severity: str, where: str, words: str
) -> None:
    plant(site)
    for folder in (site, site.parent):
        [finding] = found(folder)
        assert finding[:2] == (severity, where)
        assert words in finding[2]


def test_a_label_value_that_the_job_does_not_know_is_an_error(site: Path) -> None:
    unknown_value(site)
    assert found(site) == []
    errors = [finding for finding in found(site, job=FINETUNE) if finding[0] == "error"]
    assert errors == [("error", LABEL_FILE, "unknown label values: 9")]


def test_all_that_is_missing_is_found_at_once(site: Path) -> None:
    for name in ("case0", "case2", "case3"):
        image(site, name).unlink()
    assert [where for _, where, _ in found(site)] == [f"a/images/case{number}.nii.gz" for number in (0, 2, 3)]


@pytest.mark.parametrize("name", ["l.nii", "images", "x" * 5000 + ".nii"], ids=["loop", "folder", "too long"])
def test_what_can_be_no_file_is_a_missing_file(site: Path, name: str) -> None:
    (site / "l.nii").symlink_to(site / "l.nii")
    edit(site, lambda content: content["training"][0].update(image=name))
    assert found(site) == [("error", f"a/{name}", "there is no such file")]


def test_a_name_with_a_null_character_is_a_fault_of_the_datalist(site: Path) -> None:
    edit(site, lambda content: content["training"][0].update(image="images/a\0b.nii"))
    assert found(site) == [("error", DATALIST, "training[0]: its image's name holds a null character")]


def test_a_file_outside_the_site_s_folder_is_a_warning_and_is_read(site: Path) -> None:
    outside(site)
    [(severity, where, problem)] = found(site)
    assert (severity, problem) == ("warning", "lies outside the site's folder")
    assert where == str(site / "../archive.nii.gz")
    (site.parent / "archive.nii.gz").write_text("no NIfTI")
    assert [severity for severity, _, _ in found(site)] == ["error", "warning"]


def test_a_link_in_the_folder_to_a_file_elsewhere_is_inside(site: Path) -> None:
    image(site).rename(site.parent / "archive.nii.gz")
    image(site).symlink_to(site.parent / "archive.nii.gz")
    assert found(site) == []


def test_a_sound_site_with_odd_names_has_no_findings(tmp_path: Path) -> None:
    folder = tmp_path / "St. Jürgen [nord] 東"
    names = ["a b", "Größe", "[bold]x[/]", "患者 1"]
    cases = [case(folder, name, hu(number)) for number, name in enumerate(names)]
    write_site(folder, training=cases[:2], validation=cases[2:3], test=cases[3:])
    assert found(folder) == []
    image(folder, "患者 1").write_bytes(b"")
    [(_, where, _)] = found(folder)
    assert where == "St. Jürgen [nord] 東/images/患者 1.nii.gz"


def test_one_broken_datalist_does_not_hide_what_is_wrong_at_other_sites(site: Path) -> None:
    no_list(site)
    truncate(sound(site.parent / "b"))
    assert [where for _, where, _ in found(site.parent)] == ["a/datalist.json", "b/images/case0.nii.gz"]


def test_no_voxel_is_decoded_twice_and_no_label_for_pretraining(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    original = volume._read_to_the_end

    def spy(path: Path, *rest: Any) -> Voxels:
        decoded.append(path)
        return original(path, *rest)

    monkeypatch.setattr(volume, "_read_to_the_end", spy)
    survey(site.parent)
    assert sorted(decoded) == sorted(site.glob("*/*.nii.gz"))
    decoded.clear()
    survey(site, tiny.job(tiny.PRETRAIN))
    assert sorted(decoded) == sorted(site.glob("images/*.nii.gz"))


def test_workers_change_nothing(site: Path) -> None:
    truncate(site)
    save(site, "images/case1.nii.gz", hu(3))
    alone = survey(site.parent)
    assert len(alone.findings) == 2
    assert survey(site.parent, workers=4) == alone


def test_progress_names_the_site(site: Path) -> None:
    lines: list[str] = []
    survey(site, progress=lines.append)
    assert lines == [f"a: read case {number} of 4" for number in (1, 2, 3, 4)]


def test_a_site_without_a_labelled_training_case_cannot_fine_tune(site: Path) -> None:
    edit(site, lambda content: [entry.pop("label") for entry in content["training"]])
    words = "no training case has a label"
    assert [words in problem for _, _, problem in found(site, job=FINETUNE) if "training" in problem] == [True]
    assert not [problem for _, _, problem in found(site, job=tiny.job(tiny.PRETRAIN)) if words in problem]
    assert found(site) == []


def test_real_ct_raises_no_false_alarm(real_ct: Path, tmp_path: Path) -> None:
    from fedswin.data.dealing.shard import shard

    shard(real_ct, tmp_path / "sites", by="source")
    assert found(tmp_path / "sites") == []
