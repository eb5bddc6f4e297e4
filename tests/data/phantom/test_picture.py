"""The picture shows what is there, with the patient's right on the left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedswin.data.datalist import Case, read_site

image_module = pytest.importorskip("matplotlib.image")
from fedswin.data.phantom.picture import draw_cases  # noqa: E402


def test_a_case_is_drawn_with_and_without_its_label(hospitals, tmp_path):
    labelled = read_site(hospitals[0]).cases("test")[0]
    drawn = {}
    for name, case in (("with", labelled), ("without", Case(labelled.image))):
        draw_cases([case], tmp_path / f"{name}.png")
        drawn[name] = image_module.imread(tmp_path / f"{name}.png")[..., :3]
    colourful = {name: float((np.ptp(pixels, axis=2) > 0.1).mean()) for name, pixels in drawn.items()}
    assert colourful["with"] > 0.05
    assert colourful["without"] == 0


def test_the_liver_is_drawn_on_the_left(hospitals, tmp_path):
    for folder in hospitals:
        draw_cases([read_site(folder).cases("test")[0]], tmp_path / "one.png")
        pixels = image_module.imread(Path(tmp_path / "one.png"))[..., :3]
        axial = pixels[:, : pixels.shape[1] // 3]
        brown = (axial[..., 0] - axial[..., 2] > 0.12) & (axial[..., 0] < 0.85)  # the liver's colour
        assert np.nonzero(brown)[1].mean() < axial.shape[1] / 2
