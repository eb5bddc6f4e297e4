"""Pictures: the newest of each kind, and only those that are there to be shared."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from fedswin.report.pictures import read_pictures


def test_the_newest_picture_of_each_kind_and_site(tmp_path: Path) -> None:
    shades = {"north": (10, 20, 30), "south": (40,)}
    for site, values in shades.items():
        writer = SummaryWriter(str(tmp_path / "tensorboard" / site / "pictures"))
        for step, value in enumerate(values):
            writer.add_image("pictures/label_and_prediction", np.full((3, 4, 6), value, np.uint8), 100 * step)
        writer.close()
    north, south = read_pictures(tmp_path)
    assert (north.site, north.title, north.step) == ("north", "label and prediction", 200)
    assert (south.site, south.step) == ("south", 0)
    for picture, value in ((north, 30), (south, 40)):
        encoded = base64.b64decode(picture.data.removeprefix("data:image/png;base64,"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded))), np.full((4, 6, 3), value))


def test_a_run_without_pictures(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path / "tensorboard" / "north"))
    writer.add_image("pictures/of another place", np.zeros((3, 4, 6), np.uint8), 1)
    writer.close()
    assert read_pictures(tmp_path) == ()
