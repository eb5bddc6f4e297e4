"""From an archive to a site folder: whole or not at all, nothing twice, and refused before it does harm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data.convert.archive import ct, hu_from_fat_to_bone, save
from data.convert.dicom_builder import write_series
from fedswin.data.check import Demands, check_site
from fedswin.data.convert.conversion import convert
from fedswin.data.datalist import SPLITS, read_site
from fedswin.errors import FedSwinError


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient a folder, in every form, some of it twice, some of it no CT."""
    root = tmp_path_factory.mktemp("archive")
    write_series(root / "dicom" / "first", hu=hu_from_fat_to_bone, PatientID="p1")
    thick = tuple((0.0, 0.0, 3.0 * k) for k in range(6))
    write_series(root / "dicom" / "second", thick, hu=hu_from_fat_to_bone, PatientID="p1")
    write_series(root / "dicom" / "mri", PatientID="p1", Modality="MR")
    save(root / "a" / "ct.nii.gz", ct(1))
    save(root / "a" / "label.nrrd", (ct(1) > 0).astype(np.uint8))
    save(root / "b" / "scan.nrrd", ct(2))
    save(root / "c" / "scan.mha", ct(3))
    save(root / "d" / "scan.mhd", ct(4))
    save(root / "twin of a" / "scan.mha", ct(1))
    save(root / "e" / "segmentation.nii.gz", (ct(5) > 0).astype(np.uint8))
    (root / "packed.zip").touch()
    return root


@pytest.fixture(scope="module")
def site(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sites") / "hospital"
    convert(archive, out, keep_map=out.with_name("map.json"))
    return out


def test_every_volume_of_ct_becomes_a_case_that_passes_the_check(site):
    read = read_site(site)
    assert check_site(read, Demands()).findings == []
    cases = [case for split in SPLITS for case in read.cases(split)]
    found = {np.asanyarray(nib.load(case.image).dataobj).tobytes() for case in cases}
    assert {ct(seed).tobytes() for seed in (1, 2, 3, 4)} < found
    assert len(found) == len(cases) == 6
    [label] = [case.label for case in cases if case.label]
    assert np.array_equal(np.asanyarray(nib.load(label).dataobj), ct(1) > 0)


def test_the_folder_holds_what_the_datalist_names_and_the_report(site):
    read = read_site(site)
    cases = [case for split in SPLITS for case in read.cases(split)]
    named = {path for case in cases for path in (case.image, case.label) if path}
    assert {path for path in site.rglob("*") if path.is_file()} == {
        *named,
        site / "datalist.json",
        site / "conversion.json",
    }


def test_the_report_accounts_for_every_file(archive, site):
    report = json.loads((site / "conversion.json").read_text())
    assert sorted(case["form"] for case in report["cases"]) == ["DICOM"] * 2 + ["MetaImage"] * 2 + ["NIfTI", "NRRD"]
    assert {entry["reason"]: entry["files"] for entry in report["left_out"]} == {
        "MR, not CT": 6,
        "an archive": 1,
        "its values are no HU": 1,
        "the same voxels as another": 1,
    }
    sources = json.loads(site.with_name("map.json").read_text())
    converted = {path for source in sources.values() for path in source["files"]}
    in_archive = {str(path) for path in archive.rglob("*") if path.is_file()}
    assert converted < in_archive
    assert len(in_archive) == len(converted) + 1 + sum(entry["files"] for entry in report["left_out"])  # 1: the label


def test_the_map_leads_back_and_is_for_its_owner_alone(archive, site):
    path = site.with_name("map.json")
    assert path.stat().st_mode & 0o777 == 0o600
    content = json.loads(path.read_text())
    dicom = [source for source in content.values() if source["original_patient"] == "p1"]
    assert len(dicom) == 2
    assert len({source["patient"] for source in dicom}) == 1
    by_name = {case.image.name.removesuffix(".nii.gz"): case for s in SPLITS for case in read_site(site).cases(s)}
    assert {name: case.patient for name, case in by_name.items()} == {
        name: source["patient"] for name, source in content.items()
    }
    [name] = [name for name, source in content.items() if source["files"] == [str(archive / "b" / "scan.nrrd")]]
    assert np.array_equal(np.asanyarray(nib.load(by_name[name].image).dataobj), ct(2))


@pytest.mark.long
def test_a_stopped_conversion_goes_on_and_writes_nothing_again_that_is_whole(archive, tmp_path):
    out, partial = tmp_path / "site", tmp_path / "site.partial"

    def stop_at_the_last(text: str) -> None:
        if text == "volume 8 of 8":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(archive, out, progress=stop_at_the_last)
    assert not out.exists()
    assert not (partial / "datalist.json").exists()
    with pytest.raises(FedSwinError, match="is a conversion that was stopped. Add --resume"):
        convert(archive, out)

    records = [json.loads(path.read_text()) for path in partial.glob("records/*")]
    twins = {case["voxels"] for case in records if len(case["files"]) == 2}
    names = [case["name"] for case in records if case["voxels"] not in twins]
    lost, spoilt, *whole = (partial / "images" / f"{name}.nii.gz" for name in names)
    lost.unlink()
    spoilt.write_bytes(spoilt.read_bytes()[:-20])
    times = {path.name: path.stat().st_mtime_ns for path in whole}

    done = convert(archive, out, resume=True)
    assert not partial.exists()
    files = {path.name: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert times.items() <= files.items()
    assert {lost.name, spoilt.name}.isdisjoint(files)
    assert len(files) == len(done.cases) == 6
    assert check_site(read_site(out), Demands()).findings == []


@pytest.mark.long
def test_the_split_does_not_depend_on_what_was_drawn(archive, site, tmp_path):
    keep_map = tmp_path / "map.json"
    convert(archive, tmp_path / "again", keep_map=keep_map)

    def split_of_files(folder: Path, names: Path) -> dict[str, str]:
        sources = json.loads(names.read_text())
        return {
            sources[case.image.name.removesuffix(".nii.gz")]["files"][0]: split
            for split in SPLITS
            for case in read_site(folder).cases(split)
        }

    assert split_of_files(tmp_path / "again", keep_map) == split_of_files(site, site.with_name("map.json"))


def test_an_archive_without_ct_is_an_error_that_says_why_and_leaves_nothing(tmp_path):
    archive = tmp_path / "archive"
    write_series(archive / "mri", Modality="MR")
    save(archive / "segmentation.nii.gz", (ct() > 0).astype(np.uint8))
    with pytest.raises(FedSwinError) as caught:
        convert(archive, tmp_path / "out" / "site")
    message = str(caught.value)
    assert "nothing there can be converted" in message
    assert "\n- 6 files: MR, not CT." in message
    assert "\n- 1 files: its values are no HU. If it is CT, convert it to HU;" in message
    assert [path.name for path in tmp_path.iterdir() if list(path.glob("*"))] == ["archive"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FedSwinError, match="It holds no file"):
        convert(tmp_path / "empty", tmp_path / "site")


@pytest.mark.long
def test_what_is_there_is_not_replaced_unless_asked_and_a_conversion(archive, site, tmp_path):
    with pytest.raises(FedSwinError, match="exists. Choose another name, or add --overwrite"):
        convert(archive, site)
    (tmp_path / "thesis").mkdir()
    with pytest.raises(FedSwinError, match="something other than a conversion"):
        convert(archive, tmp_path / "thesis", overwrite=True)
    (tmp_path / "site.partial").mkdir()
    with pytest.raises(FedSwinError, match="site.partial is something other than a conversion"):
        convert(archive, tmp_path / "site", overwrite=True)
    shutil.copytree(site, tmp_path / "old")
    before = {path.name for path in (tmp_path / "old" / "images").iterdir()}
    save(tmp_path / "small archive" / "p" / "ct.nii.gz")
    convert(tmp_path / "small archive", tmp_path / "old", overwrite=True)
    after = {path.name for path in (tmp_path / "old" / "images").iterdir()}
    assert (len(after), before & after) == (1, set())


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("archive/site", {}, "overlap"),
        (".", {}, "overlap"),
        ("site", {"keep_map": "site/map.json"}, "must not tell the old names"),
        ("site", {"keep_map": "site.partial/map.json"}, "must not tell the old names"),
        ("site", {"keep_map": "gone/map.json"}, "Choose a folder that exists"),
        ("site", {"keep_map": "archive/p/ct.nii.gz"}, "exists, and may be all that knows"),
        ("site", {"validation": 0.6, "test": 0.5}, "leave nothing to train on"),
    ],
)
def test_what_cannot_go_well_is_refused_before_anything_is_read(tmp_path, monkeypatch, out, options, words):
    save(tmp_path / "archive" / "p" / "ct.nii.gz")
    monkeypatch.chdir(tmp_path)
    options = {key: Path(value) if key == "keep_map" else value for key, value in options.items()}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FedSwinError, match=words):
        convert(Path("archive"), Path(out), **options)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_is_a_file_or_not_there_is_refused(tmp_path):
    (tmp_path / "scans.zip").touch()
    for name in ("scans.zip", "gone"):
        with pytest.raises(FedSwinError, match="is no folder. Give the folder that holds the archive; unpack it first"):
            convert(tmp_path / name, tmp_path / "site")


@pytest.mark.long
def test_real_ct_is_converted_and_a_series_that_is_there_as_nifti_too_only_once(real_ct, tmp_path):
    done = convert(real_ct, tmp_path / "site", keep_map=tmp_path / "map.json")
    names = {tuple(source["files"]) for source in json.loads((tmp_path / "map.json").read_text()).values()}
    assert names == {(str(path),) for path in real_ct.glob("*/*/ct.nii.gz")}
    assert sum(case.label is not None for case in done.cases) == len(list(real_ct.glob("*/*/label.nii.gz")))
    assert {
        item.files[0].parent.name: item.reason.partition(":")[0] for item in done.left_out if len(item.files) > 2
    } == {
        "sts_019": "the same voxels as another",
        "ge_head_variable_tilt": "no regular grid",
    }
    assert check_site(read_site(tmp_path / "site"), Demands()).findings == []
