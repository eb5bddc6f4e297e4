"""The picture of a comparison: colours, sides, proportions, and the same slice in every column."""

from __future__ import annotations

import numpy as np
import pytest

import stand_in
from fedswin.data.planes import COLOURS
from fedswin.errors import FedSwinError
from fedswin.segmentation.comparison import Row, Segmented, class_colours, draw_comparison, panels

SHAPE = (30, 50)  # rows from the back to the front, columns from right to left
COLOUR = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in COLOURS])


def row(spacing=(1.0, 1.0, 2.0), models=2, dice=0.5):
    image = np.zeros(SHAPE)
    label = np.zeros(SHAPE, np.uint8)
    label[20:28, 5:15] = 1  # at the patient's right, in front
    guess = np.where(label, 2, 0).astype(np.uint8)
    return Row("a/case$1$", ("slice 3 of 4",), image, label, spacing, [Segmented(guess, dice)] * models)


def test_a_class_has_the_colour_of_its_label_value_in_every_job():
    many, few = {"spleen": 1, "kidneys": [2, 3], "liver": 6}, {"liver": 6}
    assert class_colours(stand_in.job(many).segmentation) == {"spleen": 1, "kidneys": 2, "liver": 6}
    assert class_colours(stand_in.job(few).segmentation) == {"liver": 6}
    clash = {"one": 1, "fourteen": 14}
    assert class_colours(stand_in.job(clash).segmentation) == {"one": 1, "fourteen": 2}


def test_the_columns_are_the_image_the_reference_and_the_models_in_the_colours_of_the_classes():
    image, reference, *models = panels(row(), [6, 1])
    assert not image.any()
    for picture, number in ((reference, 6), (models[0], 1), (models[1], 1)):
        marked = picture.any(axis=2)
        expected = np.zeros(SHAPE, bool)
        expected[2:10, 5:15] = True  # in front is on top, and the right on the left
        assert np.array_equal(marked, expected)
        assert picture[5, 10] == pytest.approx(0.45 * COLOUR[number - 1], abs=1)


@pytest.fixture
def drawn(tmp_path):
    image_module = pytest.importorskip("matplotlib.image")

    def draw(rows, models=("a", "b$x"), colours=None):
        draw_comparison(rows, models, colours or {"liver": 6, "spleen": 1}, "a caption", tmp_path / "out.png")
        return (image_module.imread(tmp_path / "out.png")[..., :3] * 255).round().astype(int)

    return draw


def boxes(pixels):
    """Return the bounding boxes of the black panels, (top, bottom, left, right), from left to right."""
    dark = pixels.sum(axis=2) < 3 * 130
    columns = dark.mean(axis=0) > 0.2
    edges = np.flatnonzero(np.diff(np.concatenate([[0], columns, [0]])))
    for left, right in edges.reshape(-1, 2):
        if right - left < 50:
            continue  # the text beside the row
        rows = np.flatnonzero(dark[:, left:right].mean(axis=1) > 0.5)
        yield rows.min(), rows.max() + 1, left, right


@pytest.mark.parametrize(("spacing", "ratio"), [((1.0, 1.0, 3.0), 0.6), ((2.0, 1.0, 1.0), 0.3), ((0.5, 1.0, 1.0), 1.2)])
def test_a_millimetre_is_as_wide_as_high_and_the_marker_lies_at_one_place_in_every_column(drawn, spacing, ratio):
    pixels = drawn([row(spacing)])
    found = list(boxes(pixels))
    assert len(found) == 4
    places = []
    for (top, bottom, left, right), number in zip(found, (None, 6, 1, 1), strict=True):
        assert right - left == pytest.approx(480, abs=2)  # the whole column
        assert (bottom - top) / (right - left) == pytest.approx(ratio, abs=0.01)
        if number:
            colour = 0.45 * COLOUR[number - 1]
            y, x = np.nonzero(np.abs(pixels[top:bottom, left:right] - colour).max(axis=2) <= 2)
            places.append((y.mean() / (bottom - top), x.mean() / (right - left)))
            assert places[-1] == pytest.approx((6 / 30, 10 / 50), abs=0.01)  # on top, on the left
    assert len(places) == 3


def test_the_legend_shows_each_class_that_is_drawn_in_its_full_colour_and_no_other(drawn):
    pixels = drawn([row(), row()], colours={"liver": 6, "spleen": 1, "stomach": 7})
    for number, is_there in ((6, True), (1, True), (7, False)):
        assert (np.abs(pixels - COLOUR[number - 1]).max(axis=2) <= 1).any() == is_there


def test_names_are_no_formulas_and_a_case_without_a_dice_or_a_class_is_drawn(drawn):
    empty = Row(
        "$",
        ("$x_",),
        np.zeros(SHAPE),
        np.zeros(SHAPE, np.uint8),
        (1, 1, 1),
        [Segmented(np.zeros(SHAPE, np.uint8), None)],
    )
    assert len(list(boxes(drawn([empty], models=["$\\frac$ " * 9])))) == 3


def test_a_very_large_comparison_is_drawn_smaller(drawn, monkeypatch):
    monkeypatch.setattr("fedswin.segmentation.comparison._MOST_PIXELS", 500)
    assert max(drawn([row()] * 3).shape) == pytest.approx(500, abs=2)


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    with pytest.raises(FedSwinError, match="cannot write the picture"):
        draw_comparison([row()], ["a", "b"], {"liver": 6, "spleen": 1}, "", tmp_path / "file" / "out.png")
