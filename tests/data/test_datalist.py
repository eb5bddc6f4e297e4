"""A site's datalist is read as MONAI reads it, and a wrong one is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedswin.config import SegmentationSettings
from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case, read_datalist, read_site, site_folders, write_datalist
from fedswin.errors import FedSwinError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "St. Mary's hospital"
    for name in ("images/a.nii.gz", "images/b.nii.gz", "images/c.nii.gz", "labels/a.nii.gz"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).touch()
    return site


def write(folder: Path, content: Any) -> Path:
    path = folder / "datalist.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_what_is_written_is_read_again(folder: Path) -> None:
    splits = {
        "training": [Case(folder / "images/a.nii.gz", folder / "labels/a.nii.gz", "p1")],
        "validation": [],
        "test": [Case(folder / "images/b.nii.gz", None, "Ünal")],
    }
    write_datalist(folder, splits, description="ours")
    assert read_datalist(folder / "datalist.json") == (splits, {"description": "ours"})
    site = read_site(folder)
    assert site.name == "St. Mary's hospital"
    assert site.cases("training", labelled=True) == splits["training"]
    assert site.cases("test", labelled=True) == []


def test_monai_reads_the_same_paths(folder: Path) -> None:
    from monai.data import load_decathlon_datalist

    case = Case(folder / "images/a.nii.gz", folder / "labels/a.nii.gz", "p1")
    write_datalist(folder, {"training": [case]})
    (entry,) = load_decathlon_datalist(folder / "datalist.json", data_list_key="training")
    assert (Path(entry["image"]), Path(entry["label"])) == (case.image, case.label)


def test_images_outside_the_folder_are_written_absolute(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "archive.nii.gz"
    outside.touch()
    write_datalist(folder, {"training": [Case(outside)]})
    assert json.loads((folder / "datalist.json").read_text())["training"] == [{"image": str(outside)}]
    assert read_site(folder).cases("training")[0].image == outside


def test_the_decathlon_s_own_list_of_test_files_and_the_default_patient(folder: Path) -> None:
    write(folder, {"test": ["./images/b.nii.gz"], "labels": {"0": "background"}})
    (case,) = read_site(folder).cases("test")
    assert (case.image.name, case.label, case.patient) == ("b.nii.gz", None, "./images/b.nii.gz")


def test_every_case_says_how_its_label_map_is_to_be_read(folder: Path) -> None:
    said: dict[str, Any] = {"annotated": ["liver"], "label_map": {"5": "liver", "6": 0}}
    splits = {split: [Case(folder / f"images/{name}.nii.gz")] for split, name in (("training", "a"), ("test", "b"))}
    write_datalist(folder, splits, **said)
    found, top_level = read_datalist(folder / "datalist.json")
    assert top_level == said
    expected = Annotation(("liver",), {5: "liver", 6: "background"})
    assert [case.annotation for cases in found.values() for case in cases] == [expected, expected]
    assert {case.annotation.source for cases in found.values() for case in cases} == {folder / "datalist.json"}


def test_a_case_may_say_for_itself_what_was_annotated(folder: Path) -> None:
    label = folder / "labels/a.nii.gz"
    annotations = [Annotation(("spleen",)), Annotation((3, 5)), Annotation(()), Annotation(), Annotation(("liver",))]
    cases = [Case(folder / "images/a.nii.gz", label, "p", annotation) for annotation in annotations]
    write_datalist(folder, {"training": cases}, annotated=["liver"])
    entries = json.loads((folder / "datalist.json").read_text())["training"]
    assert [entry.get("annotated") for entry in entries] == [["spleen"], [3, 5], [], None, None]
    site = read_site(folder)
    found = [case.annotation for case in site.cases("training")]
    assert [annotation.annotated for annotation in found] == [("spleen",), (3, 5), (), ("liver",), ("liver",)]
    assert [annotation.place for annotation in found] == ["training[0]", "training[1]", "training[2]", "", ""]
    assert len(site.cases("training", labelled=True)) == 4  # where nothing was annotated there is no label
    job = SegmentationSettings(classes={"spleen": 1, "tumour": 5, "cyst": [3, 4]})
    assert site.annotated_cases("training", job) == site.cases("training")[:2]


A, B = "images/a.nii.gz", "images/b.nii.gz"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not valid JSON"),
        ('{"training": [], "training": []}', "the key 'training' is there twice"),
        ('{"label_map": {"7": "liver", "7": "spleen"}}', "the key '7' is there twice"),
        ({"annotated": "liver"}, "'annotated' is 'liver'. It must be a list"),
        ({"label_map": {"7": 1}}, "'label_map' maps 7 to 1"),
        ([], "is no object. It must be one with the keys training, validation, test"),
        ({"training": {}}, "'training' is no list"),
        ({"training": None}, "'training' is no list"),
        ({"training": [{"label": A}]}, r"training\[0\] has no 'image'"),
        (
            {"validation": [{"image": A}, {"image": "images/x.nii.gz"}]},
            r"validation\[1\]: .*x.nii.gz does not",
        ),
        (
            {"test": [{"image": A, "label": "labels/x.nii.gz"}]},
            r"test\[0\]: .*labels/x.nii.gz does not exist",
        ),
        ({"test": [{"image": A, "label": [A, B]}]}, r"test\[0\]: 'label' is .*not one path"),
        ({"training": [{"image": A}], "test": [A]}, "is in both 'training' and 'test'"),
        (
            {"training": [{"image": A, "patient": 7}], "validation": [{"image": B, "patient": "7"}]},
            "patient 7 is in both 'training' and 'validation'",
        ),
    ],
)
def test_a_wrong_datalist_is_refused(folder: Path, content: Any, complaint: str) -> None:
    write(folder, content)
    with pytest.raises(FedSwinError, match=complaint) as refusal:
        read_site(folder)
    assert str(folder / "datalist.json") in str(refusal.value)


def test_one_image_under_two_names_is_in_two_splits(folder: Path) -> None:
    (folder / "images/link.nii.gz").symlink_to(folder / A)
    write(folder, {"training": [A], "test": ["images/link.nii.gz"]})
    with pytest.raises(FedSwinError, match="is in both 'training' and 'test'"):
        read_site(folder)


def test_a_missing_or_unreadable_datalist_is_named(folder: Path) -> None:
    with pytest.raises(FedSwinError, match=r"datalist.json: there is no such file. Write it with"):
        read_site(folder)
    (folder / "datalist.json").mkdir()
    with pytest.raises(FedSwinError, match="cannot be read: Is a directory"):
        read_site(folder)


def test_site_folders_are_those_with_a_datalist(folder: Path) -> None:
    (folder.parent / "notes").mkdir()
    with pytest.raises(FedSwinError, match="no site folder found"):
        site_folders(folder.parent)
    write(folder, {})
    assert site_folders(folder.parent) == {"St. Mary's hospital": folder}


def test_a_site_has_one_name_however_its_folder_is_reached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, {})
    (folder.parent / "sites").mkdir()
    link = folder.parent / "sites" / "hospital_a"
    link.symlink_to(folder)
    monkeypatch.chdir(folder)
    for data, name in ((link.parent, "hospital_a"), (link, "hospital_a"), (Path(), "St. Mary's hospital")):
        [(found, path)] = site_folders(data).items()
        assert (found, read_site(path).name, path.parent / found) == (name, name, path)


def test_the_regions_of_the_body_are_known_words(folder: Path) -> None:
    write(folder, {"training": [], "regions": ["abdomen", "chest", "abdomen"]})
    assert read_site(folder).regions == ("chest", "abdomen")
    for wrong, named in (
        (["chest", "Hans Mueller"], '"Hans Mueller"'),
        ("abdomen", '"abdomen"'),
        ([["chest"]], "chest"),
    ):
        write(folder, {"training": [], "regions": wrong})
        with pytest.raises(FedSwinError, match=f"'regions' holds .*{named}.*, which is no region") as caught:
            read_site(folder)
        assert "head, neck, chest" in str(caught.value)
