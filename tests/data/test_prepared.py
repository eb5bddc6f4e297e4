"""What 16 bits keep of an image, and that a crop is what the whole volume has there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedswin.config import DataSettings
from fedswin.data.prepared import Prepared, as_kept, index_type

MRI = DataSettings(channels=("T2",))


def through(image: Tensor, data: DataSettings) -> Tensor:
    return Prepared(as_kept({"image": image}, data), data).image()


@pytest.mark.parametrize("window", [(-1000, 1000), (-175, 250), (0, 1), (-1024, 3071)])
def test_whole_hu_come_back_bit_for_bit(window: tuple[float, float]) -> None:
    low, high = window
    image = ((torch.arange(low, high + 1) - low) / (high - low)).reshape(1, -1, 1, 1)
    assert torch.equal(through(image, DataSettings(hu_window=window)), image)


@given(st.integers(-3000, 3000), st.floats(0.5, 4000), st.integers(0, 2**20))
def test_any_hu_of_any_window_comes_back_within_half_a_step(low: int, width: float, seed: int) -> None:
    image = torch.rand(1, 20, 10, 10, generator=torch.Generator().manual_seed(seed))
    error = (through(image, DataSettings(hu_window=(low, low + width))) - image).abs().max()
    assert float(error) <= 0.5 / 2**15 + 1e-7  # at least half of the 16 bits are in use


def test_ct_is_off_by_less_than_a_fiftieth_hu() -> None:
    image = torch.linspace(0, 1, 99_991).reshape(1, -1, 1, 1)
    assert float((through(image, DataSettings()) - image).abs().max()) * 2000 < 0.02


def test_a_window_wider_than_16_bits_is_kept_too() -> None:
    image = torch.tensor([0.0, 0.25, 1.0]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(through(image, DataSettings(hu_window=(0, 1e6))), image, rtol=0, atol=1e-5)


def test_other_modalities_keep_their_digits_and_their_zeros() -> None:
    image = torch.tensor([0.0, 1.0, -3.0, 60_000.0, 1e-3, *np.random.default_rng(0).normal(size=1000)]).float()
    found = through(image.reshape(1, -1, 1, 1), MRI).flatten()
    assert found[0] == 0
    assert float(((found - image) / image)[1:].abs().max()) < 1e-3


def test_a_crop_is_what_the_volume_has_there() -> None:
    volume = Prepared(as_kept({"image": torch.rand(2, 9, 8, 7)}, MRI), MRI)
    assert volume.shape == (9, 8, 7)
    assert torch.equal(volume.image((slice(2, 5), slice(0, 8), slice(6, 7))), volume.image()[:, 2:5, :, 6:])


def test_labels_and_indices_are_kept_in_few_bits() -> None:
    label = torch.ones(1, 4, 4, 4, dtype=torch.uint8)
    item = {"image": torch.rand(1, 4, 4, 4), "label": label, "label_fg_indices": torch.arange(64), "class_indices": {}}
    kept = as_kept(item, DataSettings())
    assert {name: array.dtype.name for name, array in kept.items()} == {
        "image": "uint16",
        "label": "uint8",
        "label_fg_indices": "int32",
    }


@pytest.mark.parametrize("voxels", [2**31, 2**31 + 1])
def test_the_last_voxel_has_a_place(voxels: int) -> None:
    assert np.iinfo(index_type(voxels)).max >= voxels - 1
