"""The window that slides once, against MONAI's sliding window and by what it may hold and compute."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers import sliding_window_inference
from monai.inferers.utils import _get_scan_interval
from torch import nn

import stand_in
from fedswin.segmentation.windows import finished_logits, starts_by_axis, window_starts

SIZES = st.tuples(st.integers(0, 200), st.sampled_from([32, 64, 96]), st.floats(0, 0.9)).map(
    lambda drawn: (drawn[1] + drawn[0], *drawn[1:])
)
OVERLAPS = st.one_of(st.sampled_from([0.0, 0.25, 0.5]), st.floats(0, 0.75))
ROI = (8, 6, 10)


def job(overlap, channels=("CT",)):
    """Return a job with windows that are too small for a Swin UNETR, and quick."""
    large = stand_in.job({"a": 1, "b": 2}, {"channels": channels}, overlap=overlap)
    return large.model_copy(update={"data": large.data.model_copy(update={"roi": ROI})})


class Convolution(nn.Module):
    """A network that feels the border of its window; it keeps what it has seen."""

    def __init__(self, channels=1):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv3d(channels, 3, 5, padding=2)
        self.seen = []

    def forward(self, windows):
        self.seen += list(windows)
        return 10 * self.layer(windows)


@given(SIZES)
def test_windows_start_where_monai_starts_them(drawn):
    size, window, overlap = drawn
    interval = _get_scan_interval([size], [window], 1, [overlap])
    assert window_starts(*drawn) == [part.start for (part,) in dense_patch_slices([size], [window], interval)]


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 25)), OVERLAPS, st.sampled_from([1, 2]))
def test_the_logits_are_those_of_monai(more, overlap, channels):
    of, model = job(overlap, [("CT",), ("T1", "T2")][channels - 1]), Convolution(channels)
    image = torch.rand(channels, *(side + extra for side, extra in zip(ROI, more, strict=True)))
    with torch.no_grad():
        expected = sliding_window_inference(image[None], ROI, 4, model, overlap=overlap, mode="gaussian")[0]
    found = torch.cat([run.clone() for run in finished_logits(model, image, of, torch.device("cpu"))], dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.7])
def test_each_window_goes_through_the_model_once(overlap):
    of, model, image = job(overlap), Convolution(), torch.rand(1, 13, 9, 31)
    for _ in finished_logits(model, image, of, torch.device("cpu")):
        pass
    windows = [image[:, x : x + 8, y : y + 6, z : z + 10] for x, y, z in product(*starts_by_axis(image.shape[1:], of))]
    digests = [sorted(window.numpy().tobytes() for window in some) for some in (windows, model.seen)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.7])
def test_planes_come_as_soon_as_they_are_finished_from_memory_as_deep_as_a_window(overlap):
    of, model, image = job(overlap), Convolution(), torch.rand(1, 13, 9, 71)
    rows, columns, levels = starts_by_axis(image.shape[1:], of)
    planes = 0
    for number, run in enumerate(finished_logits(model, image, of, torch.device("cpu")), start=1):
        planes += run.shape[-1]
        assert len(model.seen) == number * len(rows) * len(columns)
        assert planes == [*levels[1:], 71][number - 1]
        assert run.untyped_storage().nbytes() == 4 * (3 + 1) * 13 * 9 * 10  # classes and weights, float32
    assert number == len(levels)
