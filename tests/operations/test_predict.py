"""Label maps as files: geometry, values, and what is refused before anything is written."""

from __future__ import annotations

import io
import json

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

import stand_in
from fedswin.data.annotation import Annotation
from fedswin.data.label_map import read_class_indices, write_label_map
from fedswin.data.volume import VolumeError
from fedswin.errors import FedSwinError
from fedswin.operations.predict import predict_images
from fedswin.weights.file import Weights, save_weights

AFFINE = np.array([[1.0, 0.05, 0, -20], [-0.05, 1.0, 0, 30], [0, 0, 2.0, 5], [0, 0, 0, 1]])
CLASSES = {"liver": 6, "kidneys": [2, 3]}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A weights file whose network finds liver at 100 HU and kidneys at 200 HU."""
    monkeypatch.setattr(
        "fedswin.segmentation.ensemble.build_segmenter",
        lambda job: stand_in.ReadsClasses(len(job.segmentation.classes)),
    )
    return save(tmp_path / "model.pt", stand_in.job(CLASSES))


def save(path, job):
    save_weights(path, Weights({}, job))
    return path


def run(images, models, out, **options):
    console = Console(file=io.StringIO(), width=200)
    table = predict_images(images, models, out, console=console, **options)
    return table, console.file.getvalue()


def test_a_label_map_has_the_values_of_the_job_and_the_geometry_of_its_image(tmp_path, model):
    indices = stand_in.blobs((40, 36, 34), 2)
    images = [tmp_path / "a.nii.gz", tmp_path / "b c.nii"]
    for number, path in enumerate(images):
        image = nib.Nifti1Image(indices * np.int16(100), AFFINE)
        image.set_qform(AFFINE, 1)
        image.set_sform(AFFINE, number * 3)
        image.header["descrip"] = b"PATIENT NAME"
        nib.save(image, path)
    table, _ = run(images, [model], tmp_path / "out")
    assert table == {"liver": 6, "kidneys": 2}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b c.nii", "labels.json"]
    for path in images:
        found, image = nib.load(tmp_path / "out" / path.name), nib.load(path)
        assert np.array_equal(np.asarray(found.dataobj), np.array([0, 6, 2])[indices])
        assert found.get_data_dtype() == np.uint8
        assert np.array_equal(found.affine, image.affine)
        for form in ("get_qform", "get_sform"):
            (ours, our_code), (theirs, their_code) = (getattr(file, form)(coded=True) for file in (found, image))
            assert our_code == their_code
            assert (ours is theirs is None) or np.array_equal(ours, theirs)
        assert b"PATIENT" not in found.header.binaryblock
    content = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert content["labels"] == {"background": 0, "liver": 6, "kidneys": 2}
    assert content["images"] == ["a.nii.gz", "b c.nii"]


def test_what_is_written_is_read_back_as_the_same_classes(tmp_path):
    indices = stand_in.blobs((24, 20, 22), 2)
    for values in ({"a": 6, "b": 2}, {"a": 300, "b": 1}):
        image = nib.Nifti2Image(np.zeros(indices.shape, np.int16), AFFINE)
        write_label_map(tmp_path / "l.nii.gz", indices, values, image)
        assert isinstance(nib.load(tmp_path / "l.nii.gz"), nib.Nifti2Image)
        found = read_class_indices(
            tmp_path / "l.nii.gz", image, Annotation().class_indices(stand_in.job(values).segmentation)
        )
        assert found.dtype == np.uint8
        assert np.array_equal(found, indices)
    with pytest.raises(VolumeError, match="l.nii.gz: unknown label values: 300"):
        read_class_indices(
            tmp_path / "l.nii.gz", image, Annotation().class_indices(stand_in.job({"b": 1}).segmentation)
        )


def test_predictions_replace_predictions_when_asked(tmp_path, model):
    image = stand_in.save(tmp_path / "a.nii.gz", stand_in.blobs((40, 36, 34), 2) * np.int16(100), AFFINE)
    run([image], [model], tmp_path / "out")
    with pytest.raises(FedSwinError, match="out exists"):
        run([image], [model], tmp_path / "out")
    run([image], [model, model], tmp_path / "out", overwrite=True)
    assert len(json.loads((tmp_path / "out" / "labels.json").read_text())["models"]) == 2


def test_an_image_that_is_not_in_hu_is_warned_of(tmp_path, model):
    image = stand_in.save(tmp_path / "a[b].nii.gz", stand_in.blobs((40, 36, 34), 2), AFFINE)
    _, shown = run([image], [model], tmp_path / "out")
    assert f"Warning: {image}: all voxels lie within 0..2" in shown


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (stand_in.job({"kidneys": [2, 3], "liver": 6}), "segmentation.classes is [('liver', 6), ('kidneys', [2, 3])]"),
        (stand_in.job(CLASSES, {"spacing": [1, 1, 2]}), "data.spacing is None in the first, but (1.0, 1.0, 2.0)"),
        (stand_in.job(CLASSES, {"hu_window": [-175, 250]}), "data.hu_window is (0.0, 200.0) in the first, but (-175"),
        (stand_in.job(CLASSES, {"roi": [64, 64, 32]}), "data.roi is (64, 32, 32) in the first, but (64, 64, 32)"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(tmp_path, model, other, words):
    image = stand_in.save(tmp_path / "a.nii.gz", stand_in.blobs((40, 36, 34), 2) * np.int16(100), AFFINE)
    with pytest.raises(FedSwinError) as refused:
        run([image], [model, save(tmp_path / "other.pt", other)], tmp_path / "out")
    assert words in str(refused.value)
    assert "other.pt cannot predict together" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_images_of_several_folders_keep_their_paths_below_the_folder_that_all_share(tmp_path, model):
    voxels = stand_in.blobs((40, 36, 34), 2) * np.int16(100)
    images = [stand_in.save(tmp_path / "sarcoma" / part / "ct.nii.gz", voxels, AFFINE) for part in "ab"]
    run(images, [model], tmp_path / "out")
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.nii.gz"))
    assert found == ["a/ct.nii.gz", "b/ct.nii.gz"]
    assert json.loads((tmp_path / "out" / "labels.json").read_text())["images"] == found


def test_an_image_given_twice_is_named(tmp_path, model):
    image = stand_in.save(tmp_path / "ct.nii.gz", np.zeros((9, 9, 9)), AFFINE)
    with pytest.raises(FedSwinError, match=r"ct.nii.gz is given twice"):
        run([image, image], [model], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bad_image_stops_all_before_the_first_is_segmented(tmp_path, model, monkeypatch):
    good = stand_in.save(tmp_path / "good.nii.gz", stand_in.blobs((40, 36, 34), 2) * np.int16(100), AFFINE)
    bad = stand_in.save(tmp_path / "bad.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)), AFFINE)
    bad.write_bytes(bad.read_bytes()[:-200])
    monkeypatch.setattr("fedswin.operations.predict.predict", lambda *_: pytest.fail("segmented"))
    with pytest.raises(VolumeError, match="bad.nii.gz: cannot be read as NIfTI"):
        run([good, bad], [model], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_of_several_channels_is_one_4d_file_and_its_label_map_is_3d(tmp_path, monkeypatch):
    monkeypatch.setattr("fedswin.segmentation.ensemble.build_segmenter", lambda job: stand_in.Says(0.2, 0.8))
    model = save(tmp_path / "model.pt", stand_in.job({"tumour": 4}, {"channels": ["T2", "ADC"], "roi": [64, 32, 32]}))
    voxels = np.random.default_rng(0).integers(1, 900, (40, 36, 34, 2)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "mri.nii.gz")
    run([tmp_path / "mri.nii.gz"], [model], tmp_path / "out")
    found = nib.load(tmp_path / "out" / "mri.nii.gz")
    assert found.shape == (40, 36, 34)
    assert np.allclose(found.affine, AFFINE)
    assert (np.asarray(found.dataobj)[3:-3, 3:-3, 3:-3] == 4).all()
    nib.save(nib.Nifti1Image(voxels[..., 0], AFFINE), tmp_path / "one.nii.gz")
    with pytest.raises(FedSwinError, match="not 3-D with 2 channels"):
        run([tmp_path / "one.nii.gz"], [model], tmp_path / "other")
