"""Known predictions through the whole evaluation: from files and weights to the tables."""

from __future__ import annotations

import csv
import io
import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from rich.console import Console

import stand_in
from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case, read_site, write_datalist
from fedswin.data.folds import in_fold
from fedswin.data.label_map import read_class_indices
from fedswin.data.volume import read_voxels
from fedswin.errors import FedSwinError
from fedswin.operations.evaluate import evaluate, matrix, render, write_evaluation
from fedswin.operations.predict import predict_images
from fedswin.segmentation.metrics import score
from fedswin.weights.file import Weights, save_weights

AFFINE = np.array([[1.2, 0, 0, -20], [0, 0.9, 0, 30], [0, 0, 2.0, 5], [0, 0, 0, 1]])
SHAPE = (44, 38, 34)
CLASSES = {"liver": 6, "spleen": 1}
JOB = stand_in.job(CLASSES, nsd_tolerance={"spleen": 2.5})


class Empty(stand_in.Says):
    """Finds nothing."""

    def __init__(self, classes):
        super().__init__(0.9, *[0.1 / classes] * classes)


def write_site(folder, orientations, seed=0):
    """Write a site with a test case for each orientation, in RAS all the same scan; the image says the label."""
    indices = stand_in.blobs(SHAPE, 2, seed)
    values = np.array([0, 6, 1], np.uint8)[indices]
    cases = []
    for codes in orientations:
        image = stand_in.save(folder / "images" / f"{codes}.nii.gz", indices * np.int16(100), AFFINE, codes)
        label = stand_in.save(folder / "labels" / f"{codes}.nii.gz", values, AFFINE, codes)
        cases.append(Case(image, label, codes))
    write_datalist(folder, {"test": cases})
    return cases


@pytest.fixture
def stand_in_network(monkeypatch):
    """Let every model be the network of the class that is given."""

    def use(network):
        monkeypatch.setattr(
            "fedswin.segmentation.ensemble.build_segmenter", lambda job: network(len(job.segmentation.classes))
        )

    return use


def model_of(job, path):
    save_weights(path, Weights({}, job))
    return path


def test_a_perfect_prediction(tmp_path, stand_in_network):
    stand_in_network(stand_in.ReadsClasses)
    write_site(tmp_path / "sites" / "one", ["RAS", "PIR"])
    write_site(tmp_path / "sites" / "two", ["LPS"], seed=1)
    results = evaluate([model_of(JOB, tmp_path / "m.pt")], tmp_path / "sites")
    assert [(result.site, result.case) for result in results] == [
        ("one", "RAS.nii.gz"),
        ("one", "PIR.nii.gz"),
        ("two", "LPS.nii.gz"),
    ]
    for row in matrix(results)["m.pt"].values():
        for name in ("", "_liver", "_spleen"):
            assert (row[f"dice{name}"], row[f"hd{name}"], row[f"hd95{name}"]) == (1, 0, 0)
            assert row[f"nsd{name}"] == pytest.approx(1)
        assert (row["missed"], row["spurious"]) == (0, 0)


def test_an_empty_prediction(tmp_path, stand_in_network):
    stand_in_network(Empty)
    write_site(tmp_path / "sites" / "one", ["RAS", "PIR"])
    write_site(tmp_path / "sites" / "two", ["LPS"], seed=1)
    table = matrix(evaluate([model_of(JOB, tmp_path / "m.pt")], tmp_path / "sites"))["m.pt"]
    diagonal = np.linalg.norm(np.multiply(SHAPE, voxel_sizes(AFFINE)))
    assert [table[site]["missed"] for site in ("one", "two", "all")] == [4, 2, 6]
    for row in table.values():
        assert (row["dice"], row["nsd"], row["hd"], row["hd95"]) == (0, 0, *[pytest.approx(diagonal)] * 2)


def test_a_case_has_the_same_scores_in_whatever_orientation_it_is_stored(tmp_path, stand_in_network):
    stand_in_network(stand_in.ReadsClasses)
    write_site(tmp_path / "sites" / "one", ["RAS", "LPS", "PIR", "SAR"])
    job = stand_in.job(CLASSES, {"spacing": [3.0, 3.0, 3.0]})  # coarse, so that the scores are not perfect
    first, *others = evaluate([model_of(job, tmp_path / "m.pt")], tmp_path / "sites")
    assert 0.3 < first.scores["dice"] < 0.99
    for other in others:
        assert other.scores == pytest.approx(first.scores, abs=2e-3)


def test_evaluate_scores_what_predict_writes(tmp_path, stand_in_network):
    stand_in_network(stand_in.ReadsClasses)
    [case] = write_site(tmp_path / "sites" / "one", ["PIR"])
    job = stand_in.job(CLASSES, {"spacing": [2.5, 2.5, 2.5]}, nsd_tolerance={"spleen": 2.5})
    model = model_of(job, tmp_path / "m.pt")
    [result] = evaluate([model], tmp_path / "sites")
    predict_images([case.image], [model], tmp_path / "out", console=Console(file=io.StringIO()))
    image = nib.load(case.image)
    maps = [
        read_class_indices(path, image, Annotation().class_indices(job.segmentation))
        for path in (tmp_path / "out" / case.image.name, case.label)
    ]
    spacing = voxel_sizes(image.affine)
    assert result.scores == score(*maps, {"liver": 1, "spleen": 2}, spacing, {"liver": 1.0, "spleen": 2.5})
    assert result.scores["dice"] < 1


def test_the_files_say_everything_by_model_site_case_and_class(tmp_path, stand_in_network):
    stand_in_network(stand_in.ReadsClasses)
    write_site(tmp_path / "sites" / "one", ["RAS"])
    write_site(tmp_path / "sites" / "two", ["LPS"], seed=1)
    models = [model_of(job, tmp_path / name) for job, name in ((JOB, "a.pt"), (stand_in.job(CLASSES), "b.pt"))]
    results = evaluate(models, tmp_path / "sites")
    write_evaluation(results, tmp_path / "out", split="test")
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["split"] == "test"
    assert content["nsd_tolerance_mm"] == {"a.pt": {"liver": 1, "spleen": 2.5}, "b.pt": {"liver": 1, "spleen": 1}}
    assert set(content["models"]["a.pt"]) == {"one", "two", "all"}
    with (tmp_path / "out" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["site"], row["case"]) for row in rows] == [
        (model, site, case)
        for model in ("a.pt", "b.pt")
        for site, case in (("one", "RAS.nii.gz"), ("two", "LPS.nii.gz"))
    ]
    names = {f"{metric}{name}" for metric in ("dice", "hd", "hd95", "nsd") for name in ("", "_liver", "_spleen")}
    assert names | {"missed", "spurious"} == set(rows[0]) - {"model", "site", "case"}
    console = Console(file=io.StringIO(), width=200)
    console.print(render(results))
    shown = console.file.getvalue()
    for words in ("Dice;", "HD in mm;", "HD95 in mm;", "NSD, tolerance liver 1 mm, spleen 2.5 mm, spleen 1 mm;"):
        assert words in shown
    assert shown.count("1.000") == 2 * 2 * 3  # Dice and NSD, two models, two sites and all


def test_a_label_that_does_not_fit_stops_all_before_the_first_is_scored(tmp_path, stand_in_network, monkeypatch):
    stand_in_network(stand_in.ReadsClasses)
    monkeypatch.setattr("fedswin.operations.evaluate.predict", lambda *_: pytest.fail("segmented"))
    *_, last = write_site(tmp_path / "sites" / "one", ["RAS", "LPS"])
    label = nib.load(last.label)
    nib.save(nib.Nifti1Image(np.full(SHAPE, 9, np.uint8), label.affine), last.label)
    with pytest.raises(FedSwinError, match="labels/LPS.nii.gz: unknown label values: 9"):
        evaluate([model_of(JOB, tmp_path / "m.pt")], tmp_path / "sites")
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), last.label)
    with pytest.raises(FedSwinError, match="labels/LPS.nii.gz: lies up to"):
        evaluate([model_of(JOB, tmp_path / "m.pt")], tmp_path / "sites")


def test_each_file_is_checked_once_for_all_models(tmp_path, stand_in_network, monkeypatch):
    stand_in_network(stand_in.ReadsClasses)
    monkeypatch.setattr("fedswin.operations.evaluate.predict", lambda *_: pytest.fail("segmented"))
    read = []

    def recorded(path, *options):
        read.append(path)
        return read_voxels(path, *options)

    monkeypatch.setattr("fedswin.operations.labelled_cases.read_voxels", recorded)
    cases = write_site(tmp_path / "sites" / "one", ["RAS", "LPS"])
    jobs = [JOB, stand_in.job(CLASSES), stand_in.job({"liver": 6})]  # the last one knows no spleen
    models = [model_of(job, tmp_path / f"{number}.pt") for number, job in enumerate(jobs)]
    with pytest.raises(FedSwinError, match=r"labels/RAS\.nii\.gz: unknown label values: 1"):
        evaluate(models, tmp_path / "sites")
    assert read == [cases[0].image, cases[0].label]


def test_of_the_validation_cases_only_those_that_the_fold_holds_out_are_scored(tmp_path, stand_in_network):
    stand_in_network(stand_in.ReadsClasses)
    cases = write_site(tmp_path / "sites" / "one", ["RAS", "LPS", "PIR", "SAR"])
    write_datalist(tmp_path / "sites" / "one", {"training": cases[:2], "validation": cases[2:]})
    site = read_site(tmp_path / "sites" / "one")
    folds = [JOB.changed("data", fold=number, folds=4) for number in range(4)]
    models = [model_of(job, tmp_path / f"{job.data.fold}.pt") for job in folds]
    scored = []
    for job, model in zip(folds, models, strict=True):
        [result] = evaluate([model], tmp_path / "sites", split="validation")
        assert result.case not in [case.image.name for case in in_fold(site, job).cases("training")]
        scored.append(result.case)
    assert sorted(scored) == sorted(case.image.name for case in cases)
    for several in (models[:2], [models[0], model_of(JOB, tmp_path / "whole.pt")]):
        with pytest.raises(FedSwinError, match="The models are of several folds, and what is held out of one was"):
            evaluate(several, tmp_path / "sites", split="validation")
