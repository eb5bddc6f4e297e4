"""From an image file to a label map on its grid: what is known must come back, from any grid."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from scipy.ndimage import gaussian_filter
from torch import nn

import stand_in
from fedswin.config import ModelSettings
from fedswin.data.datalist import Case
from fedswin.data.loading import Volumes, image_preprocessing
from fedswin.segmentation.file_grid import FileGrid
from fedswin.segmentation.inference import predict, predict_classes, probability_blocks
from fedswin.segmentation.model import build_segmenter

ORIENTATIONS = ["".join(sides) for axes in permutations(("LR", "PA", "IS")) for sides in product(*axes)]
CLASSES = {"a": 1, "b": 2}
AFFINE = np.array([[1.1, 0, 0, -20], [0, 0.9, 0, 30], [0, 0, 2.2, 5], [0, 0, 0, 1]])


def rotated(degrees, axis):
    turn = np.eye(4)
    first, second = (number for number in range(3) if number != axis)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[first, first], turn[first, second], turn[second, first], turn[second, second] = cos, -sin, sin, cos
    return turn


def sheared(row, column):
    shear = np.eye(4)
    shear[row, column] = 0.3
    return shear


@pytest.fixture
def convolution():
    """A network that feels the border of its window, so that windows at other places give other numbers."""
    torch.manual_seed(0)
    return nn.Conv3d(1, 3, 5, padding=2)


def monais(model, image, job):
    """Return MONAI's logits (classes, X, Y, Z) of a preprocessed image."""
    with torch.no_grad():
        overlap = job.segmentation.overlap
        return sliding_window_inference(image[None], job.data.roi, 4, model, overlap=overlap, mode="gaussian")[0]


def test_an_image_is_prepared_as_for_training(tmp_path):
    labels = stand_in.blobs((70, 40, 50), 2)
    image = stand_in.save(tmp_path / "i.nii.gz", labels * np.float32(100), AFFINE, "PIR")
    label = stand_in.save(tmp_path / "l.nii.gz", labels, AFFINE, "PIR")
    job = stand_in.job(CLASSES, {"spacing": [1.5, 1.5, 2.0]})
    prepared = image_preprocessing(job.data)({"image": str(image)})["image"]
    kept = Volumes([Case(image, label)], job)[0].image()
    torch.testing.assert_close(prepared.as_tensor(), kept, rtol=0, atol=1e-5)  # 16 bits are kept


def test_without_resampling_it_is_what_validation_scores(tmp_path, convolution):
    job = stand_in.job(CLASSES, {"hu_window": [-175, 250]})
    voxels = np.random.default_rng(0).integers(-100, 200, (64, 32, 40)).astype(np.float32)  # kept exactly
    image = stand_in.save(tmp_path / "i.nii.gz", voxels, AFFINE)
    item = Volumes([Case(image, stand_in.save(tmp_path / "l.nii.gz", np.zeros_like(voxels), AFFINE))], job)[0]
    expected = predict_classes(convolution, item.image(), job, torch.device("cpu"))[0].numpy()
    assert len(np.unique(expected)) == 3
    assert np.array_equal(predict(stand_in.ensemble(job, convolution), image), expected)


def test_every_voxel_comes_back_in_each_of_the_48_orientations(tmp_path):
    labels = stand_in.blobs((31, 27, 24), 2)
    models = stand_in.ensemble(stand_in.job(CLASSES), stand_in.ReadsClasses(2))
    for codes in ORIENTATIONS:
        image = stand_in.save(tmp_path / f"{codes}.nii.gz", labels * np.int16(100), AFFINE, codes)
        stored = np.asarray(nib.load(image).dataobj) // 100
        assert np.array_equal(predict(models, image), stored), codes


@pytest.mark.parametrize(
    "turn",
    [
        np.eye(4),
        np.diag([-1, -1, 1, 1]),
        np.eye(4)[[1, 2, 0, 3]],
        *(rotated(20, axis) for axis in range(3)),
        rotated(20, 0) @ rotated(-15, 2),
        *(sheared(row, column) for row in range(3) for column in range(3) if row != column),
    ],
)
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 2.0), (0.8, 1.3, 1.1)])
def test_a_slope_comes_back_where_it_was_from_a_resampled_grid(tmp_path, turn, spacing):
    """Linear interpolation of a linear function, there and back, is exact: so a plane crosses 50 HU where it did."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (50, 44, 40)), indexing="ij")
    slope = (50 + 12 * x + 15 * y + 9 * z).astype(np.float32)
    nib.save(nib.Nifti1Image(slope, turn @ AFFINE), tmp_path / "i.nii.gz")
    job = stand_in.job({"a": 1}, {"spacing": spacing})
    found = predict(stand_in.ensemble(job, stand_in.ReadsClasses(1)), tmp_path / "i.nii.gz")
    inside = np.zeros(slope.shape, bool)
    inside[4:-4, 4:-4, 4:-4] = True
    sure = inside & (np.abs(slope - 50) > 0.01)
    assert np.array_equal(found[sure], (slope > 50)[sure])


@pytest.mark.parametrize("case", ["organs/tptbox_lumbar", "sarcoma/STS_008"])
def test_real_ct_comes_back_on_its_own_grid(real_ct, case):
    image = real_ct / case / "ct.nii.gz"
    hu = np.asarray(nib.load(image).dataobj)
    exact, coarse = (
        predict(stand_in.ensemble(stand_in.job({"a": 1}, {"spacing": spacing}), stand_in.ReadsClasses(1)), image)
        for spacing in (None, (3.0, 3.0, 3.0))
    )
    unequal = hu != 50  # at 50 HU both classes are equally likely
    assert np.array_equal(exact[unequal], (hu > 50)[unequal])
    assert coarse.shape == hu.shape
    smooth = gaussian_filter(hu.astype(float), 1.5 / np.array(nib.load(image).header.get_zooms())) - 50
    sure = np.abs(smooth) > np.percentile(np.abs(smooth), 60)
    assert (coarse == (smooth > 0))[sure].mean() > 0.9  # noise is lost on the coarse grid


def test_what_the_foreground_crop_has_cut_off_is_background(tmp_path):
    voxels = np.full((90, 60, 60), -1000, np.int16)
    voxels[10:80, 15:50, 12:48] = 50
    image = stand_in.save(tmp_path / "i.nii.gz", voxels, AFFINE)
    found = predict(stand_in.ensemble(stand_in.job({"a": 1}), stand_in.Says(0.1, 0.9)), image)
    assert np.array_equal(found == 1, voxels > 0)


@pytest.mark.parametrize("spacing", [None, (3.0, 3.0, 3.0)])
def test_the_padding_of_a_small_image_is_no_part_of_it(tmp_path, spacing):
    """The network finds its class in the padding alone: neither within the image nor where air was cut off."""
    voxels = np.full((40, 30, 26), -1000, np.int16)
    voxels[9:, :, 8:] = 50
    image = stand_in.save(tmp_path / "i.nii.gz", voxels, AFFINE)
    models = stand_in.ensemble(stand_in.job({"a": 1}, {"spacing": spacing}), stand_in.FindsPadding())
    assert not predict(models, image).any()


@pytest.mark.parametrize(("doubtful", "expected"), [((0.4, 0.6), 0), ((0.2, 0.8), 1)])
def test_an_ensemble_is_the_mean_of_probabilities_not_a_vote_nor_the_mean_of_logits(tmp_path, doubtful, expected):
    """One sure model and two doubtful ones: a vote would always give 1, the mean of logits always 0."""
    image = stand_in.save(tmp_path / "i.nii.gz", np.full((64, 32, 32), 50, np.int16), AFFINE)
    models = [stand_in.Says(0.999, 0.001), *[stand_in.Says(*doubtful)] * 2]
    assert np.unique(predict(stand_in.ensemble(stand_in.job({"a": 1}), *models), image)) == [expected]


def test_an_ensemble_of_one_model_twice_is_that_model(tmp_path):
    labels = stand_in.blobs((66, 40, 36), 2)
    image = stand_in.save(tmp_path / "i.nii.gz", labels * np.int16(100), AFFINE)
    job = stand_in.job(CLASSES, {"spacing": [2.0, 2.0, 2.0]})
    once, twice = (stand_in.ensemble(job, *[stand_in.ReadsClasses(2)] * count) for count in (1, 2))
    assert np.array_equal(predict(once, image), predict(twice, image))


def test_blocks_are_the_mean_of_what_monai_gives_each_model(convolution):
    job = stand_in.job(CLASSES, overlap=0.5)
    image = torch.rand(1, 64, 33, 100)
    models = stand_in.ensemble(job, convolution, stand_in.Says(0.2, 0.5, 0.3), convolution)
    expected = torch.stack([monais(model, image, job).softmax(0) for model in models.models]).mean(0)
    blocks = list(probability_blocks(models, image))
    assert len(blocks) > 3
    for first, block in blocks:
        assert block.shape[-1] <= 1 + job.data.roi[2]
        torch.testing.assert_close(block, expected[..., first : first + block.shape[-1]], rtol=0, atol=1e-6)
    gaps = [first + 0.5 for first, block in blocks for first in range(first, first + block.shape[-1] - 1)]
    assert gaps == [plane + 0.5 for plane in range(99)]  # between any two planes lies exactly one block


@pytest.mark.filterwarnings("error:invalid value")
@pytest.mark.parametrize(("planes", "overlap"), [(120, 0.25), (42, 0.99)])
def test_a_volume_in_many_blocks_comes_back_as_in_one(tmp_path, planes, overlap):
    """With an overlap of 0.99 the first block is a single plane, and a plane of the file lies before it."""
    labels = stand_in.blobs((66, 30, planes), 2)
    labels[20:40, 10:20, 6:9] = 2
    voxels = 1 + labels * np.int16(100)
    voxels[..., :6] = -1000
    image = stand_in.save(tmp_path / "i.nii.gz", voxels, AFFINE, "SPL")
    job = stand_in.job(CLASSES, {"spacing": [1.4, 1.4, 1.5]}, overlap=overlap)
    prepared = image_preprocessing(job.data)({"image": str(image)})["image"]
    model, grid = stand_in.ReadsClasses(2), FileGrid(prepared)
    grid.fill(expected := grid.empty(), 0, monais(model, prepared.as_tensor(), job).softmax(0))
    assert expected[..., 6].any()
    assert np.array_equal(predict(stand_in.ensemble(job, model), image), grid.as_stored(expected))


def test_on_real_ct_the_classes_are_those_of_monai(real_ct):
    job = stand_in.job(CLASSES, {"hu_window": [-175, 250], "spacing": [4.0, 4.0, 4.0]}, overlap=0.5)
    job = job.model_copy(update={"model": ModelSettings(feature_size=12)})
    file = real_ct / "sarcoma" / "STS_008" / "ct.nii.gz"
    image = image_preprocessing(job.data)({"image": str(file)})["image"].as_tensor()
    model = build_segmenter(job).eval()
    logits = monais(model, image, job)
    likeliest, second = logits.topk(2, dim=0).values
    sure = likeliest - second > 1e-4  # an untrained network is of two minds in places
    assert sure.float().mean() > 0.99
    found, expected = predict_classes(model, image, job, torch.device("cpu"))[0], logits.argmax(0)
    assert len(expected.unique()) > 1
    assert torch.equal(found[sure], expected[sure])


def test_progress_ends_with_all_windows(convolution):
    seen = []
    models = stand_in.ensemble(stand_in.job(CLASSES), convolution, convolution)
    list(probability_blocks(models, torch.rand(1, 64, 40, 70), lambda *now: seen.append(now)))
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)  # two models, one by two by three windows
