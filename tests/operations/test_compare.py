"""Models side by side: which cases and slices are drawn, what each column shows, and what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import stand_in
from end_to_end import tiny
from fedswin.data.datalist import Case, write_datalist
from fedswin.errors import FedSwinError
from fedswin.operations import compare as module
from fedswin.operations.compare import compare, refuse_comparison
from fedswin.operations.evaluate import evaluate
from fedswin.weights.file import Weights, save_weights

AFFINE = np.array([[1.2, 0, 0, -20], [0, 0.9, 0, 30], [0, 0, 2.0, 5], [0, 0, 0, 1]])
SHAPE = (44, 38, 34)
CLASSES = {"liver": 6, "spleen": 1}
JOB = stand_in.job(CLASSES)


def reference_of(busy):
    """A label map in RAS: the liver at the patient's right in front, the spleen at the left behind, in one slice."""
    indices = np.zeros(SHAPE, np.uint8)
    indices[30:40, 25:33, busy - 2 : busy + 3] = 1
    indices[5:15, 5:13, busy] = 2
    return indices


def write_site(folder, busy_slices, codes="RAS", **top_level):
    """Write a test case for each busy slice; the image says the label, so that `ReadsClasses` is right."""
    cases = []
    for number, busy in enumerate(busy_slices):
        indices = reference_of(busy)
        image = stand_in.save(folder / "images" / f"case{number}.nii.gz", indices * np.int16(100), AFFINE, codes)
        values = np.array([0, 6, 1], np.uint8)[indices]
        label = stand_in.save(folder / "labels" / f"case{number}.nii.gz", values, AFFINE, codes)
        cases.append(Case(image, label, f"p{number}"))
    write_datalist(folder, {"test": cases}, **top_level)
    return cases


@dataclass
class Drawings:
    """What would have been drawn."""

    rows: list = field(default_factory=list)
    models: list = field(default_factory=list)
    caption: str = ""


@pytest.fixture
def drawn(monkeypatch):
    """Keep what is to be drawn in place of drawing it, and let every model find what the image says."""
    drawings = Drawings()

    def keep(rows, models, colours, caption, out):
        drawings.rows, drawings.models, drawings.caption = rows, models, caption
        out.write_bytes(b"drawn")

    monkeypatch.setattr(module, "draw_comparison", keep)
    monkeypatch.setattr(
        "fedswin.segmentation.ensemble.build_segmenter",
        lambda job: stand_in.ReadsClasses(len(job.segmentation.classes)),
    )
    return drawings


def model(path, job=JOB):
    save_weights(path, Weights({}, job))
    return path


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
def test_all_columns_show_the_busiest_axial_slice_as_a_radiologist_sees_it(tmp_path, drawn, codes):
    write_site(tmp_path / "one", [20], codes)
    models = [model(tmp_path / name) for name in ("a.pt", "b.pt")]
    [row] = compare(models, tmp_path / "one", tmp_path / "out.png")
    assert (row.case, row.slice) == ("one/case0", 21)
    [shown] = drawn.rows
    expected = reference_of(20)[::-1, :, 20].T  # rows from the back to the front, columns from right to left
    assert np.array_equal(shown.reference, expected)
    rows, columns = np.nonzero(shown.reference == 1)
    assert columns.max() < SHAPE[0] / 2  # the liver, at the patient's right, is on the left
    assert rows.min() > SHAPE[1] / 2
    assert shown.spacing == pytest.approx((1.2, 0.9, 2.0))
    assert shown.image == pytest.approx(expected / 2)
    assert drawn.models == ["a.pt", "b.pt"]
    for column in shown.models:
        assert column.dice == pytest.approx(1)
        assert np.array_equal(column.plane, expected)


def test_a_slice_that_is_named_is_drawn_in_all_columns(tmp_path, drawn):
    write_site(tmp_path / "one", [20, 12])
    options = {"cases": ["case1.nii.gz", "one/case0"], "slices": [15, 21]}
    rows = compare([model(tmp_path / "m.pt")], tmp_path / "one", tmp_path / "out.png", **options)
    assert [tuple(row) for row in rows] == [("one/case1", 15, ""), ("one/case0", 21, "")]
    for row, (busy, place) in zip(drawn.rows, [(12, 14), (20, 20)], strict=True):
        expected = reference_of(busy)[::-1, :, place].T
        assert np.array_equal(row.reference, expected)
        assert np.array_equal(row.models[0].plane, expected)
    assert "worst" not in drawn.caption


def test_by_default_the_worst_the_median_and_the_best_case_of_each_site_by_the_first_model(
    tmp_path, drawn, monkeypatch
):
    write_site(tmp_path / "sites" / "many", [20, 20, 20, 20, 20])
    write_site(tmp_path / "sites" / "pair", [20, 20])
    write_site(tmp_path / "sites" / "single", [20])
    voxels = {"many": [40, 10, 30, 0, 20], "pair": [5, 6], "single": [7]}  # of the liver that are found

    def found(ensemble, image, progress):
        number = int(image.name.removeprefix("case").removesuffix(".nii.gz"))
        indices = np.zeros(SHAPE, np.uint8)
        liver = np.argwhere(reference_of(20) == 1)[: voxels[image.parent.parent.name][number] * 5]
        indices[tuple(liver.T)] = 1
        return indices if ensemble.job == JOB else np.zeros(SHAPE, np.uint8)

    monkeypatch.setattr(module, "predict", found)
    models = [model(tmp_path / "a.pt"), model(tmp_path / "b.pt", stand_in.job(CLASSES, {"spacing": [2, 2, 2]}))]
    rows = compare(models, tmp_path / "sites", tmp_path / "out.png")
    assert [(row.case, row.why) for row in rows] == [
        ("many/case3", "worst of 5"),
        ("many/case4", "median of 5"),
        ("many/case0", "best of 5"),
        ("pair/case0", "worst of 2"),
        ("pair/case1", "best of 2"),
        ("single/case0", "the only case"),
    ]
    assert "best Dice of a.pt" in drawn.caption
    liver = (reference_of(20) == 1).sum()
    for row, count in zip(drawn.rows, (0, 20, 40, 5, 6, 7), strict=True):
        first, second = row.models
        assert first.dice == pytest.approx((2 * count * 5 / (liver + count * 5)) / 2)  # the spleen is missed
        assert second.dice == 0


def test_the_dice_is_that_of_evaluate(tmp_path, drawn):
    write_site(tmp_path / "one", [20, 12])
    coarse = model(tmp_path / "m.pt", stand_in.job(CLASSES, {"spacing": [3.0, 3.0, 3.0]}))
    names = ["case0", "case1"]
    compare([coarse], tmp_path / "one", tmp_path / "out.png", cases=names)
    scores = [result.scores["dice"] for result in evaluate([coarse], tmp_path / "one")]
    assert [row.models[0].dice for row in drawn.rows] == pytest.approx(scores, abs=1e-6)
    assert 0.3 < scores[0] < 0.99


def test_a_class_that_was_not_annotated_is_drawn_in_no_column(tmp_path, drawn):
    [case] = write_site(tmp_path / "one", [20], annotated=["liver"])
    values = np.array([0, 6, 0], np.uint8)[reference_of(20)]
    values[0, 0, 20] = 1  # of the spleen, whose Dice would be 0
    stand_in.save(case.label, values, AFFINE)
    compare([model(tmp_path / "m.pt")], tmp_path / "one", tmp_path / "out.png", cases=["case0"], slices=[21])
    [row] = drawn.rows
    for plane in (row.reference, row.models[0].plane):
        assert set(np.unique(plane)) == {0, 1}
    assert row.models[0].dice == pytest.approx(1)
    assert "not annotated: spleen" in row.notes


def test_a_case_without_a_dice_is_not_chosen_but_drawn_if_named(tmp_path, drawn):
    cases = write_site(tmp_path / "one", [20, 20])
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), cases[0].label)
    m = model(tmp_path / "m.pt")
    assert [row.case for row in compare([m], tmp_path / "one", tmp_path / "out.png")] == ["one/case1"]
    assert [tuple(row) for row in compare([m], tmp_path / "one", tmp_path / "out.png", cases=["case0"])] == [
        ("one/case0", SHAPE[2] // 2 + 1, "")
    ]
    assert drawn.rows[0].models[0].dice is None
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), cases[1].label)
    with pytest.raises(FedSwinError, match="no Dice to choose by"):
        compare([m], tmp_path / "one", tmp_path / "other.png")


def refused(tmp_path, words, models, **options):
    with pytest.raises(FedSwinError, match=words):
        compare(models, tmp_path / "sites", tmp_path / "new" / "out.png", **options)
    assert not list(tmp_path.glob("new/*"))


def test_cases_and_slices_that_are_not_there_are_refused_before_anything_is_segmented(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(module, "predict", lambda *_: pytest.fail("segmented"))
    write_site(tmp_path / "sites" / "one", [20, 12])
    write_site(tmp_path / "sites" / "two", [20])
    m = [model(tmp_path / "m.pt")]
    refused(tmp_path, "case0 may be one/case0 or two/case0", m, cases=["case0"])
    refused(tmp_path, r"no such labelled case \(did you mean 'case1'\?\). There are one/case0, ", m, cases=["cas1"])
    refused(tmp_path, "one/case1 is given twice", m, cases=["case1", "one/case1.nii.gz"])
    refused(tmp_path, "no slice 35: its axial slices are 1 to 34", m, cases=["case1"], slices=[35])
    refused(tmp_path, "no slice 0", m, cases=["case1"], slices=[0])
    refused(tmp_path, "1 slices for 0 cases", m, slices=[3])
    datalist = tmp_path / "sites" / "two" / "datalist.json"
    content = json.loads(datalist.read_text())
    content["test"][0]["annotated"] = [99]
    datalist.write_text(json.dumps(content))
    refused(tmp_path, "two/case0 annotates no class", m, cases=["two/case0"])


def test_models_that_cannot_stand_side_by_side_are_refused(tmp_path, drawn):
    write_site(tmp_path / "sites" / "one", [20])
    m = model(tmp_path / "m.pt")
    other = model(tmp_path / "other.pt", stand_in.job({"spleen": 1, "liver": 6}))
    refused(tmp_path, "m.pt and other.pt cannot stand side by side: segmentation.classes", [m, other])
    refused(tmp_path, "m.pt is given twice", [m, m])
    pretrain = model(tmp_path / "p.pt", tiny.job(tiny.PRETRAIN))
    refused(tmp_path, "'pretrain' job and segments nothing. Give one of a 'finetune' job", [m, pretrain])


def test_a_fault_in_the_middle_leaves_what_was_there(tmp_path, drawn, monkeypatch):
    write_site(tmp_path / "sites" / "one", [20])
    out = tmp_path / "out.png"
    out.write_bytes(b"before")

    def half(rows, models, colours, caption, path):
        path.write_bytes(b"half")
        raise FedSwinError("full")

    monkeypatch.setattr(module, "draw_comparison", half)
    with pytest.raises(FedSwinError, match="full"):
        compare([model(tmp_path / "m.pt")], tmp_path / "sites", out)
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pt", "out.png", "sites"]


def test_what_is_no_png_or_exists_is_refused_and_matplotlib_is_asked_for(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    with pytest.raises(FedSwinError, match=r"a comparison is a PNG. Give --out a name that ends with \.png"):
        refuse_comparison(Path("out.pdf"), overwrite=False)
    out = tmp_path / "out.png"
    refuse_comparison(out, overwrite=False)
    out.write_text("no picture")
    with pytest.raises(FedSwinError, match="exists"):
        refuse_comparison(out, overwrite=False)
    with pytest.raises(FedSwinError, match="something other than a PNG"):
        refuse_comparison(out, overwrite=True)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(FedSwinError, match=r'needs matplotlib: pip install "fedswin\[report\]"'):
        refuse_comparison(tmp_path / "new.png", overwrite=False)
