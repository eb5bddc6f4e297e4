"""How to cut a long volume so that sliding windows, chunk by chunk, give what they give in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Chunk(NamedTuple):
    """A run of rows of windows along one axis.

    Attributes:
        start: where the first row starts.
        stop: where the last row ends.
        first: the first of the planes that the chunk is to give: all windows that cover them lie within the chunk.
        end: one past the last of these planes.
        rows: how many rows there are.
    """

    start: int
    stop: int
    first: int
    end: int
    rows: int


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Return where the windows start along an axis, as in MONAI's ``sliding_window_inference``.

    Args:
        size: of the image along the axis, at least ``window``.
        window: size of a window along the axis.
        overlap: share of the window that it has in common with its neighbour, 0 to below 1.
    """
    return [*range(0, size - window, max(int(window * (1 - overlap)), 1)), size - window]


def plan_chunks(starts: Sequence[int], window: int, most: int) -> list[Chunk]:
    """Group rows of windows into chunks of at most ``most`` planes, or as few as can be.

    Every plane is given by exactly one chunk. The rows that cover the border of two chunks belong to both.

    Args:
        starts: where the rows start, as `window_starts` returns them.
        window: size of a window along the axis.
        most: the planes that a chunk may span; it is exceeded where less would make no headway.
    """
    size = starts[-1] + window
    complete = [*starts[1:], size]  # planes below complete[row] are covered by no row after it
    chunks: list[Chunk] = []
    row = done = 0
    while done < size:
        first_row = next(number for number, start in enumerate(starts) if start + window > done)
        while row + 1 < len(starts) and starts[row + 1] + window - starts[first_row] <= most:
            row += 1
        chunks.append(Chunk(starts[first_row], starts[row] + window, done, complete[row], row - first_row + 1))
        done = complete[row]
        row += 1
    return chunks
