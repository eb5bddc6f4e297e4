"""Chunks of sliding windows against MONAI's own window positions, and by what they must hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from fedswin.segmentation.chunks import plan_chunks, window_starts

SIZES = st.tuples(st.integers(0, 200), st.sampled_from([32, 64, 96]), st.floats(0, 0.9)).map(
    lambda drawn: (drawn[1] + drawn[0], *drawn[1:])
)


@given(SIZES)
def test_windows_start_where_monai_starts_them(drawn):
    size, window, overlap = drawn
    interval = _get_scan_interval([size], [window], 1, [overlap])
    assert window_starts(*drawn) == [part.start for (part,) in dense_patch_slices([size], [window], interval)]


@given(SIZES, st.integers(0, 400))
def test_every_plane_is_given_once_by_a_chunk_that_holds_all_its_windows(drawn, most):
    size, window, overlap = drawn
    starts = window_starts(size, window, overlap)
    chunks = plan_chunks(starts, window, most)
    assert [plane for chunk in chunks for plane in range(chunk.first, chunk.end)] == list(range(size))
    for chunk in chunks:
        rows = [start for start in starts if start < chunk.end and start + window > chunk.first]
        assert chunk.start == min(rows)
        assert chunk.stop == max(rows) + window
        assert chunk.rows == len(rows)
        # Rows at the same place as in the whole image, if MONAI scans the chunk by itself.
        assert [chunk.start + start for start in window_starts(chunk.stop - chunk.start, window, overlap)] == rows


@given(SIZES)
def test_chunks_are_as_long_as_allowed(drawn):
    size, window, overlap = drawn
    starts = window_starts(size, window, overlap)
    assert len(plan_chunks(starts, window, size)) == 1
    assert all(chunk.stop - chunk.start <= 3 * window for chunk in plan_chunks(starts, window, 3 * window))
