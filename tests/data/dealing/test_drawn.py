"""What was drawn in each case: as the label maps show it, and as a manifest lists it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from data.volumes import write_image, write_label
from fedswin.data.datalist import SPLITS, read_site, site_folders
from fedswin.data.dealing.collection import read_collection
from fedswin.data.dealing.drawn import read_drawn
from fedswin.data.dealing.shard import shard
from fedswin.errors import FedSwinError

DRAWN = {"a": (1, 2, 7), "b": (2,), "c": (), "d": (1, 7), "e": (7,), "f": (1, 2)}
"""The values in the label map of each case; a seventh, ``g``, has none."""


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "collection"
    for number, name in enumerate("abcdefg"):
        write_image(folder / "head" / name / "ct.nii.gz", (1, 1, 1), value=number)
        if name in DRAWN:
            write_label(folder / "head" / name / "label.nii.gz", *DRAWN[name])
    return folder


def write_manifest(collection: Path, labels: Mapping[str, Any]) -> None:
    entries = [{"folder": "head", "id": name, "labels": own, "source": "x"} for name, own in labels.items()]
    (collection / "manifest.json").write_text(json.dumps(entries))


def annotated(sites: Path) -> dict[str, tuple[Any, ...] | None]:
    """What was annotated in each case, by the name of its file."""
    return {
        case.image.name.partition(".")[0]: case.annotation.annotated
        for folder in site_folders(sites).values()
        for split in SPLITS
        for case in read_site(folder).cases(split)
    }


@pytest.mark.parametrize("by", ["label-maps", "manifest"])
def test_the_values_that_were_drawn_are_written_beside_each_case(collection: Path, tmp_path: Path, by: Any) -> None:
    named = {name: {str(value): f"organ {value}" for value in values} for name, values in DRAWN.items()}
    write_manifest(collection, {**named, "g": None})
    result = shard(collection, tmp_path / "out", by="iid", sites=2, annotated=by)
    assert annotated(tmp_path / "out") == {**DRAWN, "g": None}
    counts = [held.annotated or {} for held in result.holdings.values()]
    assert {value: sum(of.get(value, 0) for of in counts) for value in "127"} == {"1": 3, "2": 3, "7": 3}
    assert sum(held.labelled for held in result.holdings.values()) == 5
    held_out = [c for site in site_folders(tmp_path / "out") for c in read_site(tmp_path / "out" / site).cases("test")]
    assert all(case.is_labelled for case in held_out)
    written = json.loads((tmp_path / "out" / "shards.json").read_text())["sites"]
    assert [site["annotated"] for site in written.values()] == counts


def test_unless_asked_for_nothing_is_written_and_no_label_map_opened(collection: Path, tmp_path: Path) -> None:
    (collection / "head" / "a" / "label.nii.gz").write_bytes(b"no label map")
    result = shard(collection, tmp_path / "out", by="source")
    assert set(annotated(tmp_path / "out").values()) == {None}
    assert result.holdings["head"].annotated is None


def test_a_manifest_says_so_too_beside_a_datalist(collection: Path, tmp_path: Path) -> None:
    entries = [{"image": f"head/{n}/ct.nii.gz", "label": f"head/{n}/label.nii.gz"} for n in "ab"]
    (collection / "dataset.json").write_text(json.dumps({"training": entries}))
    content = [{"folder": "collection", "id": f"{name}_ct", "labels": {"5": "x"}} for name in "ab"]
    (collection / "manifest.json").write_text(json.dumps(content))
    shard(collection / "dataset.json", tmp_path / "out", by="source", annotated="manifest")
    assert set(annotated(tmp_path / "out").values()) == {(5,)}


MALFORMED = [
    (None, "manifest.json: there is no such file. Put it there, or let the label maps say"),
    ("[", "cannot be read as JSON"),
    ("[" * 100_000, "cannot be read as JSON"),
    ("{}", "manifest.json is no list"),
    ("[3]", "entry 0 does not have the texts 'folder' and 'id'"),
    ('[{"folder": "head", "id": 3}]', "entry 0 does not have"),
    ("[]", "head/a has a label map, and its 'labels' are None"),
    ('[{"folder": "head", "id": "a", "labels": ["1"]}]', "its 'labels' are \\['1'\\]"),
    ('[{"folder": "head", "id": "a", "labels": {"liver": 1}}]', "its 'labels' are {'liver': 1}"),
    ('[{"folder": "head", "id": "a", "labels": {"-1": "x"}}]', "its 'labels' are"),
    ('[{"folder": "head", "id": "a", "labels": {"%s": "x"}}]' % ("9" * 5000), "its 'labels' are"),
]


@pytest.mark.parametrize(("text", "complaint"), MALFORMED, ids=[complaint[-20:] for _, complaint in MALFORMED])
def test_a_manifest_that_does_not_say_it_is_refused(collection: Path, text: str | None, complaint: str) -> None:
    if text is not None:
        (collection / "manifest.json").write_text(text)
    with pytest.raises(FedSwinError, match=complaint):
        read_drawn(collection, read_collection(collection, "*/a").scans)


def test_who_else_should_say_it_is_unknown(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="--annotated labels is unknown. Use label-maps or manifest"):
        shard(collection, tmp_path / "out", by="source", annotated="labels")  # type: ignore[arg-type]
