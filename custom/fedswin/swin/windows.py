"""Which tokens attend to which in Swin's windows, shifted or not, worked out once for a size.

A volume is cut into windows of equal size; at its far ends it is padded. In every second block the cut is shifted, so
that the last windows along an axis hold what is left at one end and what comes from the other, and tokens of the two
must not see each other (Liu et al., 2021, "Swin Transformer", section 3.2). MONAI computes all windows in full, with a
mask for those and with padding as queries. Here a window falls into boxes within which every token sees every other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int, int]


class Boxes(NamedTuple):
    """Boxes of tokens that are alike in shape, in place within their window, and in where they are padding.

    Attributes:
        tokens: the tokens of each box that are no padding, (boxes, T): numbers of tokens in the flattened volume.
        places: where in its window each is, (T,).
        padding: where in its window padding is that they see, (P,).
    """

    tokens: Tensor
    places: Tensor
    padding: Tensor

    def to(self, device: torch.device) -> Boxes:
        """Return the same boxes on ``device``."""
        return Boxes(*(tensor.to(device) for tensor in self))


class _Segments(NamedTuple):
    """What boxes are along one axis: coordinates (segments, length), places in the window, and which are no padding."""

    coordinates: Tensor
    places: Tensor
    real: Tensor


# If torch.compile traced this, the boxes would be worked out anew in each step.
@torch.compiler.disable  # type: ignore[untyped-decorator]
@lru_cache(maxsize=256)
def window_boxes(shape: Size, window: Size, shift: Size, device: torch.device) -> tuple[Boxes, ...]:
    """Return the boxes that a volume falls into.

    Args:
        shape: the volume's size in tokens.
        window: a window's size in tokens, along no axis larger than the volume.
        shift: by how many tokens the cut is shifted.
        device: where the numbers are to lie.

    Returns:
        Boxes of each kind. Every token is in one box.
    """
    axes = (list(_segments(*each)) for each in zip(shape, window, shift, strict=True))
    return tuple(_boxes(shape, window, kinds).to(device) for kinds in itertools.product(*axes))


def _segments(size: int, window: int, shift: int) -> Iterator[_Segments]:
    """Yield the kinds of segments along an axis: whole windows, and the parts of the last one."""
    count = math.ceil(size / window)
    coordinates = ((torch.arange(count * window) + shift) % (count * window)).reshape(count, window)
    whole, before, after = range(window), range(window - shift), range(window - shift, window)
    parts = [(row, whole) for row in coordinates[:-1]] + [(coordinates[-1], part) for part in (before, after)]
    alike: dict[tuple[range, tuple[bool, ...]], list[Tensor]] = {}
    for row, part in parts:
        segment = row[part.start : part.stop]
        alike.setdefault((part, tuple((segment < size).tolist())), []).append(segment)
    for (part, real), segments in alike.items():
        if any(real):
            yield _Segments(torch.stack(segments), torch.tensor(part), torch.tensor(real))


def _boxes(shape: Size, window: Size, kinds: tuple[_Segments, ...]) -> Boxes:
    a, b, c = (kind.coordinates for kind in kinds)
    grid = torch.broadcast_tensors(
        a[:, None, None, :, None, None], b[None, :, None, None, :, None], c[None, None, :, None, None, :]
    )
    number = (grid[0] * shape[1] + grid[1]) * shape[2] + grid[2]
    real = torch.stack(torch.meshgrid(*(kind.real for kind in kinds), indexing="ij")).all(0).reshape(-1)
    x, y, z = torch.meshgrid(*(kind.places for kind in kinds), indexing="ij")
    places = ((x * window[1] + y) * window[2] + z).reshape(-1)
    tokens = number.reshape(len(a) * len(b) * len(c), -1)[:, real]
    return Boxes(tokens, places[real], places[~real])
