"""Every case of a collection lands in exactly one place, whole, and what is test stays test."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from data.volumes import write_image, write_label
from fedswin.data.datalist import SPLITS, read_datalist, read_site, site_folders
from fedswin.data.dealing import shard as module
from fedswin.data.dealing.shard import shard
from fedswin.errors import FedSwinError


def collect(folder: Path, sources: Mapping[str, int], *, labelled: bool = True) -> Path:
    """Make a collection; its files need not be NIfTI, since sharding does not open them."""
    for source, cases in sources.items():
        for number in range(cases):
            case = folder / source / f"case {number}"
            case.mkdir(parents=True)
            (case / "ct.nii.gz").write_text(f"ct {source} {number}")
            (case / "labels.json").write_text("{}")
            if labelled:
                (case / "label.nii.gz").write_text(f"label {source} {number}")
    return folder


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    return collect(tmp_path / "all our CT", {"north": 5, "south east": 8})


def images(sites: Path, split: str) -> set[Path]:
    """The files that the images of ``split`` lead to, over all sites."""
    return {case.image.resolve() for folder in site_folders(sites).values() for case in read_site(folder).cases(split)}


def test_by_source_each_source_is_a_site(collection: Path, tmp_path: Path) -> None:
    result = shard(collection, tmp_path / "my sites", by="source")
    assert result.sites == {
        "north": {"training": 3, "validation": 1, "test": 1},
        "south east": {"training": 4, "validation": 2, "test": 2},
    }
    assert result.messages == []
    site = read_site(tmp_path / "my sites" / "north")
    for case in (case for split in site.splits for case in site.cases(split)):
        assert case.image.parent == site.folder / "images"
        assert case.image.resolve() == collection / "north" / case.image.name[: -len(".nii.gz")] / "ct.nii.gz"
        assert case.label == site.folder / "labels" / case.image.name
        assert case.label.read_text() == case.image.read_text().replace("ct", "label")
    assert sorted(path.name for path in site.folder.iterdir()) == ["datalist.json", "images", "labels"]


def test_iid_deals_evenly_and_names_cases_apart(collection: Path, tmp_path: Path) -> None:
    result = shard(collection, tmp_path / "sites", by="iid", sites=3)
    assert list(result.sites) == ["site_1", "site_2", "site_3"]
    assert sorted(sum(splits.values()) for splits in result.sites.values()) == [4, 4, 5]
    found = sorted(path.resolve() for path in (tmp_path / "sites").glob("*/images/*"))
    assert found == sorted(collection.glob("*/*/ct.nii.gz"))


def test_one_name_in_two_sources_is_prefixed(tmp_path: Path) -> None:
    collection = collect(tmp_path / "in", {"a": 2, "b": 1})
    shard(collection, tmp_path / "out", by="iid", sites=1)
    names = sorted(path.name for path in (tmp_path / "out/site_1/images").iterdir())
    assert names == ["a_case 0.nii.gz", "b_case 0.nii.gz", "case 1.nii.gz"]


def test_names_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for key in ("a/b_c", "a_b/c", "d/b_c", "d/c"):
        (tmp_path / "in" / key).mkdir(parents=True)
        (tmp_path / "in" / key / "ct.nii.gz").write_text(key)
    with pytest.raises(FedSwinError, match="would both be named a_b_c"):
        shard(tmp_path / "in", tmp_path / "out", by="iid", sites=1)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("cases", "expected"),
    [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (8, (4, 2, 2)), (20, (12, 4, 4))],
)
def test_the_splits_of_a_small_site(tmp_path: Path, cases: int, expected: tuple[int, int, int]) -> None:
    collection = collect(tmp_path / "in", {"a": cases})
    result = shard(collection, tmp_path / "out", by="source")
    assert tuple(result.sites["a"].values()) == expected
    assert len(result.messages) == expected.count(0)


def test_shares_of_zero_are_meant(tmp_path: Path) -> None:
    collection = collect(tmp_path / "in", {"a": 10})
    result = shard(collection, tmp_path / "out", by="source", validation=0, test=0.3)
    assert result.sites == {"a": {"training": 7, "validation": 0, "test": 3}}
    assert result.messages == []


def test_the_same_seed_gives_the_same_datalists(collection: Path, tmp_path: Path) -> None:
    def lists(name: str, **options: Any) -> dict[str, str]:
        shard(collection, tmp_path / name, **options)
        return {path.parent.name: path.read_text() for path in (tmp_path / name).glob("*/datalist.json")}

    assert lists("a", by="iid", sites=2, seed=3) == lists("b", by="iid", sites=2, seed=3)
    assert lists("c", by="iid", sites=2, seed=4) != lists("d", by="iid", sites=2, seed=3)
    assert lists("e", by="source")["north"] == lists("f", by="source", only="north/*")["north"]


def test_copies_are_files_and_sources_stay_as_they_were(collection: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in collection.rglob("*.*")}
    shard(collection, tmp_path / "out", by="source", copy=True)
    copies = list((tmp_path / "out").glob("*/images/*"))
    assert len(copies) == 13
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert {path: path.read_bytes() for path in collection.rglob("*.*")} == before


def test_links_survive_a_move_of_the_sites(collection: Path, tmp_path: Path) -> None:
    shard(collection, tmp_path / "out", by="source")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").rename(tmp_path / "elsewhere/sites")
    assert read_site(tmp_path / "elsewhere/sites/north").cases("training")[0].image.read_text().startswith("ct")


def test_relative_paths(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(collection)
    result = shard(Path(), Path("../deep/er/out"), by="source")
    assert list(result.sites) == ["north", "south east"]
    assert images(tmp_path / "deep/er/out", "test") < set(collection.glob("*/*/ct.nii.gz"))


def test_only_chooses_cases_and_names_what_has_no_image(collection: Path, tmp_path: Path) -> None:
    (collection / "dicom/series").mkdir(parents=True)
    (collection / "flat").mkdir()
    (collection / "north/empty").mkdir()
    result = shard(collection, tmp_path / "all", by="source")
    assert result.messages == [f"{name}: no NIfTI found, left out" for name in ("dicom", "flat", "north/empty")]
    result = shard(collection, tmp_path / "some", by="source", only="north/case [01]")
    assert result.sites == {"north": {"training": 1, "validation": 1, "test": 0}}
    assert result.messages == ["north: none of its 2 cases is test"]


def test_uncompressed_and_unlabelled_cases(tmp_path: Path) -> None:
    (tmp_path / "in/a/x").mkdir(parents=True)
    (tmp_path / "in/a/x/ct.nii").write_text("ct")
    shard(tmp_path / "in", tmp_path / "out", by="source")
    (case,) = read_site(tmp_path / "out/a").cases("training")
    assert (case.image.name, case.label, case.patient) == ("x.nii", None, "a/x")
    assert not (tmp_path / "out/a/labels").exists()


def decathlon(folder: Path, **content: Any) -> Path:
    names = [entry if isinstance(entry, str) else entry["image"] for split in content.values() for entry in split]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    path = folder / "dataset.json"
    path.write_text(json.dumps({**content, "labels": {"1": "spleen"}, "numTraining": 41, "label_map": {"7": "spleen"}}))
    return path


def test_a_datalist_is_a_collection_of_one_source(tmp_path: Path) -> None:
    training = [{"image": f"./imagesTr/spleen_{number}.nii.gz"} for number in range(4)]
    path = decathlon(tmp_path / "Task09_Spleen", training=training, test=["./imagesTs/spleen_9.nii.gz"])
    result = shard(path, tmp_path / "out", by="source")
    assert result.sites == {"Task09_Spleen": {"training": 3, "validation": 1, "test": 1}}
    assert result.messages == ["dataset.json: its own splits are pooled and drawn anew"]
    _, top_level = read_datalist(tmp_path / "out/Task09_Spleen/datalist.json")
    assert top_level.pop("description") == "dataset.json, by source, seed 0"
    assert top_level == {"labels": {"1": "spleen"}, "label_map": {"7": "spleen"}}
    assert (tmp_path / "out/Task09_Spleen/images/spleen_9.nii.gz").is_symlink()


def test_a_datalist_s_images_of_one_name_take_their_folder_s(tmp_path: Path) -> None:
    path = decathlon(tmp_path / "KiTS", training=[f"case_{number}/imaging.nii.gz" for number in range(2)])
    assert shard(path, tmp_path / "out", by="source", only="KiTS/case_*").messages[0].endswith("test")
    assert sorted(path.name for path in (tmp_path / "out/KiTS/images").iterdir()) == [
        "case_0_imaging.nii.gz",
        "case_1_imaging.nii.gz",
    ]


def test_a_patient_s_cases_stay_together(tmp_path: Path) -> None:
    visits = [{"image": f"{p}_{visit}.nii.gz", "patient": f"p{p}"} for p in range(9) for visit in range(3)]
    shard(decathlon(tmp_path / "in", training=visits), tmp_path / "out", by="iid", sites=2)
    places: dict[str, set[tuple[str, str]]] = {}
    for name, folder in site_folders(tmp_path / "out").items():
        for split, cases in read_site(folder).splits.items():
            for case in cases:
                places.setdefault(case.patient, set()).add((name, split))
    assert len(places) == 9
    assert all(len(where) == 1 for where in places.values())


@pytest.mark.parametrize("copy_first", [False, True])
@pytest.mark.parametrize("copy_then", [False, True])
def test_what_is_test_stays_test(collection: Path, tmp_path: Path, copy_first: bool, copy_then: bool) -> None:
    shard(collection, tmp_path / "one", by="iid", sites=2, only="south east/*", copy=copy_first, seed=5)
    result = shard(collection, tmp_path / "two", by="source", keep_test=tmp_path / "one", copy=copy_then)
    assert result.messages == []
    assert result.sites["south east"] == {"training": 4, "validation": 2, "test": 2}

    def contents(sites: Path) -> set[str]:
        return {text for path in images(sites, "test") if "south" in (text := path.read_text())}

    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_second_copy_of_a_test_image_is_test_too(collection: Path, tmp_path: Path) -> None:
    shard(collection, tmp_path / "one", by="source", only="north/*")
    (test,) = images(tmp_path / "one", "test")
    shutil.copytree(test.parent, collection / "south east" / "a copy")
    shard(collection, tmp_path / "two", by="iid", sites=2, keep_test=tmp_path / "one")
    assert {test, collection / "south east/a copy/ct.nii.gz"} <= images(tmp_path / "two", "test")


def test_kept_cases_that_are_elsewhere_are_told(collection: Path, tmp_path: Path) -> None:
    shard(collection, tmp_path / "one", by="source")
    result = shard(collection, tmp_path / "two", by="source", only="north/*", keep_test=tmp_path / "one")
    assert len(result.messages) == 2
    assert all("south east/case" in text and "not in this collection" in text for text in result.messages)


def test_a_collection_of_kept_cases_only_has_nothing_to_train_on(collection: Path, tmp_path: Path) -> None:
    shard(collection, tmp_path / "one", by="source", only="north/*")
    (test,) = images(tmp_path / "one", "test")
    result = shard(
        collection,
        tmp_path / "two",
        by="source",
        only=f"north/{test.parent.name}",
        keep_test=tmp_path / "one",
    )
    assert result.sites == {"north": {"training": 0, "validation": 0, "test": 1}}
    assert "north: none of its 1 cases is training" in result.messages


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"by": "sources"}, r"--by sources is unknown \(did you mean 'source'\?\)"),
        ({"by": "source", "sites": 2}, "--sites is for --by iid, dirichlet and quantity"),
        ({"by": "source", "alpha": 1.0}, "--alpha is for --by dirichlet and quantity, and says nothing by source"),
        ({"by": "iid", "sites": 2, "alpha": 1.0}, "says nothing by iid"),
        ({"by": "dirichlet"}, "--by dirichlet needs a number of sites, found None"),
        ({"by": "quantity", "sites": 0}, "--by quantity needs a number of sites, found 0"),
        ({"by": "quantity", "sites": 2, "alpha": 0.0}, r"--alpha 0 is not within 0.001..1000000"),
        ({"by": "dirichlet", "sites": 2, "alpha": float("nan")}, "--alpha nan is not within"),
        ({"by": "quantity", "sites": 14}, "14 sites, but 13 patients to train on"),
        ({"by": "dirichlet", "sites": 2}, "Label maps that cannot be read: 13 of 13"),
        ({"by": "iid"}, "needs a number of sites, found None"),
        ({"by": "iid", "sites": 0}, "needs a number of sites, found 0"),
        ({"by": "iid", "sites": 14}, "14 sites, but 13 patients"),
        ({"by": "source", "validation": 0.5, "test": 0.5}, "nothing to train on"),
        ({"by": "source", "test": -0.1}, "or are negative"),
        ({"by": "source", "only": "west/*"}, r"no case found that matches --only 'west/\*'"),
        ({"by": "source", "keep_test": Path("/nowhere")}, "/nowhere: no site folder found"),
    ],
)
def test_options_that_do_not_fit(collection: Path, tmp_path: Path, options: Any, complaint: str) -> None:
    with pytest.raises(FedSwinError, match=complaint):
        shard(collection, tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == [collection.name]


def test_a_collection_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="does not exist"):
        shard(tmp_path / "gone", tmp_path / "out", by="source")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FedSwinError, match=r"empty: no case found\. A collection is a folder of"):
        shard(tmp_path / "empty", tmp_path / "out", by="source")
    with pytest.raises(FedSwinError, match=r"scan\.mhd is not NIfTI"):
        shard(decathlon(tmp_path / "mhd", training=["scan.mhd"]), tmp_path / "out", by="source")


def test_one_file_under_two_names_is_refused(collection: Path, tmp_path: Path) -> None:
    (collection / "twin").mkdir()
    (collection / "twin/case 0").symlink_to(collection / "north/case 0")
    with pytest.raises(FedSwinError, match="north/case 0 and twin/case 0 are the same file"):
        shard(collection, tmp_path / "out", by="source")


def test_out_is_replaced_only_when_asked_and_only_if_it_is_sites(collection: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shard(collection, out, by="source")
    with pytest.raises(FedSwinError, match=r"out exists\. Choose another name, or add --overwrite"):
        shard(collection, out, by="iid", sites=2)
    shard(collection, out, by="iid", sites=2, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["shards.json", "site_1", "site_2"]
    (out / "thesis").mkdir()
    with pytest.raises(FedSwinError, match="something other than a folder of site folders"):
        shard(collection, out, by="source", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all our CT", "out"]


def test_out_must_not_overlap_the_collection(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="overlap"):
        shard(collection, collection / "sites", by="source")
    shard(collection, tmp_path / "out", by="source", copy=True)
    with pytest.raises(FedSwinError, match="overlap"):
        shard(tmp_path / "out/north/datalist.json", tmp_path / "out", by="source", overwrite=True)
    assert read_site(tmp_path / "out/north").cases("training")


@pytest.mark.parametrize("existed", [False, True])
def test_nothing_half_written_stays(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    out = tmp_path / "out"
    if existed:
        shard(collection, out, by="iid", sites=2)
    copied = []

    def full_disk(source: Path, target: Path) -> None:
        copied.append(target)
        if len(copied) == 5:
            raise OSError(28, "No space left on device")
        target.touch()

    monkeypatch.setattr(module.shutil, "copyfile", full_disk)
    with pytest.raises(FedSwinError, match=r"cannot be copied: .*No space left"):
        shard(collection, out, by="source", copy=True, overwrite=True)
    left = [collection.name, *(["out"] if existed else [])]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(left)
    assert not existed or sorted(path.name for path in out.iterdir()) == ["shards.json", "site_1", "site_2"]


def test_a_disk_without_links_is_told_of_copies(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    with pytest.raises(FedSwinError, match=r"\(--copy\).*Operation not permitted"):
        shard(collection, tmp_path / "out", by="source")


def test_a_parent_that_cannot_be_written(collection: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FedSwinError, match="cannot write there"):
        shard(collection, tmp_path / "file/out", by="source")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A collection whose source ``north`` has 6 patients with a tumour among 12, and ``south`` no label maps."""
    folder = tmp_path / "labelled"
    for source, number in itertools.product(("north", "south"), range(12)):
        case, north = folder / source / f"{number:02d}", source == "north"
        write_image(case / "ct.nii.gz", (1, 1, 2 if north else 5), value=number if north else -number - 1)
        if north:
            write_label(case / "label.nii.gz", *((1, 2) if number % 2 else (1,)))
    return folder


def test_dirichlet_deals_patients_by_the_kind_that_their_label_maps_show(labelled: Path, tmp_path: Path) -> None:
    told: list[str] = []
    result = shard(labelled, tmp_path / "out", by="dirichlet", sites=3, alpha=0.3, seed=2, progress=told.append)
    assert {kind: sum(sites.values()) for kind, sites in result.kinds.items()} == {
        "north: 1": 6,
        "north: 2": 6,
        "south: unlabelled": 12,
    }
    assert told[-1] == "reading label map 12 of 12"
    for name, folder in site_folders(tmp_path / "out").items():
        kinds: Counter[str] = Counter()
        for case in (case for split in SPLITS for case in read_site(folder).cases(split)):
            source, number = case.image.resolve().parts[-3:-1]
            kinds["south: unlabelled" if source == "south" else f"north: {1 + int(number) % 2}"] += 1
        assert kinds == {kind: sites[name] for kind, sites in result.kinds.items() if sites[name]}
    _, top_level = read_datalist(tmp_path / "out/site_1/datalist.json")
    assert top_level["description"] == "labelled, by dirichlet, alpha 0.3, seed 2"


def test_quantity_opens_no_label_map_and_deals_every_kind_to_the_large_sites(collection: Path, tmp_path: Path) -> None:
    result = shard(collection, tmp_path / "out", by="quantity", sites=3)
    assert sum(sum(splits.values()) for splits in result.sites.values()) == 13
    assert result.kinds == {}
    _, top_level = read_datalist(tmp_path / "out/site_1/datalist.json")
    assert top_level["description"] == "all our CT, by quantity, alpha 0.5, seed 0"


def test_a_skewed_deal_keeps_what_is_test_elsewhere(labelled: Path, tmp_path: Path) -> None:
    shard(labelled, tmp_path / "one", by="source")
    shard(labelled, tmp_path / "two", by="dirichlet", sites=3, keep_test=tmp_path / "one")
    assert images(tmp_path / "one", "test") <= images(tmp_path / "two", "test")


def test_who_holds_what_is_written_beside_the_sites(labelled: Path, tmp_path: Path) -> None:
    result = shard(labelled, tmp_path / "out", by="source")
    written = json.loads((tmp_path / "out/shards.json").read_text())
    assert written["description"] == "labelled, by source, seed 0"
    assert written["sites"]["north"] == {
        "cases": {"training": 8, "validation": 2, "test": 2},
        "patients": 12,
        "labelled": 12,
        "unreadable": 0,
        "classes": None,
        "annotated": None,
        "spacing_mm": {key: [1.0, 1.0, 2.0] for key in ("min", "median", "max")},
    }
    assert written["sites"]["south"]["labelled"] == 0
    assert result.holdings["south"].spacing == dict.fromkeys(("min", "median", "max"), (1, 1, 5))


def test_a_picture_is_drawn_of_the_classes_that_sites_hold(labelled: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = shard(labelled, tmp_path / "out", by="iid", sites=2, plot=tmp_path / "pictures" / "who.png")
    assert (tmp_path / "pictures" / "who.png").read_bytes().startswith(b"\x89PNG")
    held = [held.classes for held in result.holdings.values()]
    assert {name: sum((classes or {}).get(name, 0) for classes in held) for name in "12"} == {"1": 12, "2": 6}


def test_a_picture_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "thesis.txt").write_text("years of work")
    for plot, complaint in (("thesis.txt", "thesis.txt exists"), ("out/who.png", "which is for site folders alone")):
        with pytest.raises(FedSwinError, match=complaint):
            shard(tmp_path / "no collection", tmp_path / "out", by="source", plot=tmp_path / plot)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_real_ct_becomes_a_tumour_study_and_its_pretraining(real_ct: Path, tmp_path: Path) -> None:
    tumour = shard(real_ct, tmp_path / "tumour", by="iid", sites=2, only="sarcoma/*")
    assert tumour.messages == []
    assert tumour.sites == {f"site_{number}": {"training": 2, "validation": 1, "test": 1} for number in (1, 2)}
    pretrain = shard(real_ct, tmp_path / "pretrain", by="source", keep_test=tmp_path / "tumour")
    assert pretrain.messages == ["dicom: no NIfTI found, left out"]
    assert sorted(pretrain.sites) == ["organs", "sarcoma", "unlabelled"]
    kept = images(tmp_path / "tumour", "test")
    assert {path for path in images(tmp_path / "pretrain", "test") if "sarcoma" in path.parts} == kept
    everything = [images(tmp_path / "pretrain", split) for split in ("training", "validation", "test")]
    assert set.union(*everything) == set(real_ct.glob("*/*/ct.nii.gz"))
    assert sum(map(len, everything)) == 15
