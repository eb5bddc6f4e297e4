"""Loading: any orientation gives the same tensor, labels follow, crops are by seed and not of air."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from fedswin.config import DataSettings, parse_job
from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case
from fedswin.data.loading import Volumes, case_order, random_crop
from fedswin.data.prepared import Prepared, as_kept
from fedswin.errors import FedSwinError
from fedswin.pretraining.rotation import rotate
from fedswin.seeds import generator

ORIENTATIONS = ["".join(sides) for axes in permutations(("LR", "PA", "IS")) for sides in product(*axes)]


def pretrain_job(**data):
    return parse_job({"name": "p", "task": "pretrain", "data": {"roi": [32, 32, 32], **data}}, "test")


def finetune_job(**segmentation):
    return parse_job(
        {"name": "f", "task": "finetune", "data": {"roi": [64, 32, 32]}, "segmentation": segmentation}, "test"
    )


@pytest.fixture(scope="module")
def ras_image():
    """A smooth volume without symmetry, 40 x 36 x 34 voxels of 1.1 x 1.3 x 1.7 mm."""
    x, y, z = np.meshgrid(*(np.linspace(0, 1, n) for n in (40, 36, 34)), indexing="ij")
    voxels = (200 * np.sin(3 * x + y) + 150 * y * z - 100 * z + 80 * x * x).astype(np.float32)
    return nib.Nifti1Image(voxels, np.diag([1.1, 1.3, 1.7, 1.0]))


def stored_as(image, codes, path):
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    nib.save(image.as_reoriented(turn), path)
    return Case(path)


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


def test_a_volume_stored_in_any_of_the_48_orientations_gives_the_same_tensor(ras_image, tmp_path):
    cases = [stored_as(ras_image, codes, tmp_path / f"{codes}.nii.gz") for codes in ORIENTATIONS]
    volumes = Volumes(cases, pretrain_job(spacing=[1.5, 1.5, 1.5]))
    tensors = [volumes[number].image() for number in range(48)]
    assert tensors[0].std() > 0.01
    for codes, tensor in zip(ORIENTATIONS, tensors, strict=True):
        assert tensor.shape == tensors[0].shape, codes
        assert float((tensor - tensors[0]).abs().max()) < 1e-4, codes


def test_rotation_is_about_the_patients_z_axis_for_a_volume_stored_pir(tmp_path):
    """The brightness encodes the height in mm, so a turn about head-to-foot changes nothing."""
    z = np.broadcast_to(np.linspace(-500, 500, 32), (32, 32, 32)).astype(np.float32)
    case = stored_as(nib.Nifti1Image(z, np.eye(4)), "PIR", tmp_path / "pir.nii.gz")
    assert nib.aff2axcodes(nib.load(case.image).affine) == ("P", "I", "R")
    image = Volumes([case], pretrain_job())[0].image()[None]
    for turn in range(4):
        assert torch.equal(rotate(image, torch.tensor([turn]), "z"), image)
    assert not torch.equal(rotate(image, torch.tensor([1]), "x"), image)


def test_hu_are_windowed_to_0_and_1(tmp_path):
    voxels = np.linspace(-450, 3000, 32**3).reshape(32, 32, 32).astype(np.float32)  # none of it air
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    image = Volumes([Case(tmp_path / "a.nii.gz")], pretrain_job(hu_window=[-1000, 1000]))[0].image()[0]
    assert np.allclose(image, np.clip((voxels + 1000) / 2000, 0, 1), atol=1e-5)


def test_labels_become_class_indices_on_the_images_grid(tmp_path):
    voxels = np.full((66, 40, 40), 50, np.float32)
    labels = np.zeros(voxels.shape, np.uint8)
    labels[5:20, 5:15, 5:15], labels[30:40, 5:15, 5:15], labels[50:60, 5:15, 5:15] = 2, 3, 9
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "i.nii.gz")
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "l.nii.gz")
    job = finetune_job(classes={"kidneys": [2, 3]}, background=[9])
    item = Volumes([Case(tmp_path / "i.nii.gz", tmp_path / "l.nii.gz")], job)[0]
    assert item.label().dtype == torch.uint8
    assert torch.equal(item.label()[0], torch.from_numpy(np.isin(labels, [2, 3]).astype(np.uint8)))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_each_site_s_own_label_values_become_the_same_classes(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("FEDSWIN_CACHE", str(tmp_path / "cache"))
    job = parse_job(finetune_job(classes={"liver": 1, "spleen": 2}).as_dict() | {"data": {"cache": cache}}, "test")
    nib.save(nib.Nifti1Image(np.full((96, 96, 96), 40, np.float32), np.eye(4)), tmp_path / "i.nii.gz")
    labels = np.zeros((96, 96, 96), np.int16)
    labels[:10], labels[20:35], labels[40:60], labels[70:] = 1, 2, 512, 6
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "l.nii.gz")
    maps = [{512: "background", 6: "liver"}, {1: "spleen", 2: "liver", 512: "background", 6: "background"}]
    cases = [Case(tmp_path / "i.nii.gz", tmp_path / "l.nii.gz", "p", Annotation(None, own)) for own in maps]
    expected = [{0: 0, 1: 1, 2: 2, 512: 0, 6: 1}, {0: 0, 1: 2, 2: 1, 512: 0, 6: 0}]
    volumes = Volumes(cases, job)
    for number, table in enumerate(expected):
        assert np.array_equal(volumes[number].label()[0], np.vectorize(table.__getitem__)(labels))


def test_a_datalist_that_does_not_fit_the_job_is_refused_where_the_cases_are_read(ras_image, tmp_path):
    image = stored_as(ras_image, "RAS", tmp_path / "i.nii.gz").image
    case = Case(image, image, "p", Annotation(("livr",), source=tmp_path / "datalist.json"))
    with pytest.raises(FedSwinError, match="datalist.json: 'annotated' names 'livr'"):
        Volumes([case], finetune_job(classes={"liver": 1}))


def test_pretraining_never_opens_a_label(ras_image, tmp_path):
    case = stored_as(ras_image, "LPS", tmp_path / "i.nii.gz")
    (tmp_path / "l.nii.gz").write_bytes(b"not a label at all")
    item = Volumes([Case(case.image, tmp_path / "l.nii.gz")], pretrain_job())[0]
    assert list(item.stored()) == ["image"]


def test_a_small_volume_is_padded_to_the_roi(tmp_path):
    nib.save(nib.Nifti1Image(np.full((10, 50, 20), 40, np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    assert Volumes([Case(tmp_path / "a.nii.gz")], pretrain_job())[0].image().shape == (1, 32, 50, 32)


def test_the_cache_on_disk_gives_what_the_one_in_memory_gives(ras_image, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDSWIN_CACHE", str(tmp_path / "cache"))
    case = stored_as(ras_image, "LPS", tmp_path / "i.nii.gz")
    in_memory = Volumes([case], pretrain_job())[0].image()
    for _ in range(2):
        assert torch.equal(Volumes([case], pretrain_job(cache="disk"))[0].image(), in_memory)
    assert not torch.equal(Volumes([case], pretrain_job(cache="disk", hu_window=[-100, 100]))[0].image(), in_memory)


def test_crops_that_are_nothing_but_air_are_drawn_again():
    data = DataSettings(roi=(32, 32, 32))
    air = torch.zeros(1, 96, 96, 32)
    body = air.clone()
    body[:, 64:, 64:] = 0.6
    volume, nothing = (Prepared(as_kept({"image": image}, data), data) for image in (body, air))
    crops = [random_crop(volume, data, np.random.default_rng(seed)) for seed in range(40)]
    assert all(crop.shape == (1, 32, 32, 32) for crop in crops)
    assert sum(bool(crop.max() > 0) for crop in crops) >= 38  # without redraws about a quarter would touch the body
    assert random_crop(nothing, data, np.random.default_rng(0)).shape == (1, 32, 32, 32)


def test_every_case_is_read_once_an_epoch_in_an_order_of_its_own():
    def rng(epoch):
        return generator(3, "order", epoch)

    drawn = case_order(5, 0, 15, rng)
    epochs = [drawn[0:5], drawn[5:10], drawn[10:15]]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert case_order(5, 7, 4, rng) == drawn[7:11]
