"""Planes stand upright, pixels are square, and what is laid over an image is where it was in the volume."""

from __future__ import annotations

import numpy as np
import pytest
from monai.visualize import blend_images

from fedswin.data.planes import AXES, busiest, grey, montage, overlaid, square, upright


def test_a_picture_has_the_patients_right_on_the_left_and_the_front_or_the_head_on_top() -> None:
    volume = np.zeros((4, 5, 6))
    volume[3, 4, 5] = 1  # right, front, head
    for axis, size in zip(AXES, ((5, 4), (6, 4), (6, 5)), strict=True):
        picture = grey(upright(volume, axis, volume.shape[axis] - 1))
        assert picture.shape == (*size, 3)
        assert picture[0, 0].tolist() == [255, 255, 255]
        assert picture.sum() == 3 * 255


def test_the_busiest_plane_has_most_organs_and_then_most_of_them() -> None:
    label = np.zeros((6, 6, 6), np.uint8)
    assert busiest(label, 2) == 3
    label[:, :, 1] = 1
    label[0, 0, 2:4] = 1
    label[1, 1, 2:4] = 2
    label[0, 1, 2] = 2
    assert busiest(label, 2) == 2


@pytest.mark.parametrize(("spacing", "rows"), [((1.0, 1.0, 2.0), 12), ((1.0, 1.0, 1.0), 6), ((1.0, 1.0, 0.5), 3)])
def test_a_plane_is_as_high_as_the_body_is(spacing: tuple[float, float, float], rows: int) -> None:
    plane = np.arange(6.0)[:, None] * np.ones(4)
    drawn = square(plane, 1, spacing)
    assert drawn.shape == (rows, 4)
    assert drawn[:, 0].tolist() == [int(row * 6 / rows) for row in range(rows)]


def test_labels_are_blended_as_monai_does_each_in_a_colour_of_its_own() -> None:
    rng = np.random.default_rng(0)
    plane, label = rng.random((7, 9)), rng.integers(0, 14, (7, 9))
    drawn = overlaid(grey(plane), label)
    image = grey(plane)[::-1]
    assert np.array_equal(drawn[::-1][label == 0], image[label == 0])
    for value in range(1, 14):
        alone = np.where(label == value, value, 0)
        ours = overlaid(grey(plane), alone)[::-1]
        assert np.array_equal(ours[label == value], drawn[::-1][label == value])
    white = overlaid(np.full((1, 13, 3), 255, np.uint8), np.arange(1, 14)[None])
    assert len({tuple(pixel) for pixel in white[0]}) == 13
    theirs = blend_images(np.full((1, 1, 1), 0.5), np.ones((1, 1, 1)), alpha=0.45, cmap="gray", rescale_arrays=False)
    ours = overlaid(np.full((1, 1, 3), 127, np.uint8), np.ones((1, 1)))
    colour = (ours[0, 0] - 0.55 * 127.5) / 0.45
    assert theirs[:, 0, 0] == pytest.approx(0.55 * 0.5 + 0.45, abs=1e-6)
    assert colour == pytest.approx([0x7B, 0x5C, 0xD6], abs=3)


def test_a_montage_has_every_picture_whole() -> None:
    one, two = np.full((2, 5, 3), 7, np.uint8), np.full((4, 3, 3), 9, np.uint8)
    whole = montage([[one, two], [two, one]])
    assert (whole == 7).sum() == 2 * one.size
    assert (whole == 9).sum() == 2 * two.size
    assert whole.shape[:2] == (2 * (4 + 2), 2 * (5 + 2))
