"""Boxes of tokens that see each other, against the masks and windows that MONAI makes."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets.swin_unetr import compute_mask, get_window_size, window_partition
from torch import Tensor
from torch.nn.functional import pad

from fedswin.swin.windows import Size, window_boxes

CPU = torch.device("cpu")


def pairs_of_monai(shape: Size, window: Size, shift: Size) -> set[tuple[int, ...]]:
    """Which token sees which, and at which places of a window: (token, token, place, place); padding is token -1."""
    padding = [(-size) % side for size, side in zip(shape, window, strict=True)]
    numbers = torch.arange(math.prod(shape)).reshape(shape).float()
    numbers = pad(numbers, (0, padding[2], 0, padding[1], 0, padding[0]), value=-1)
    padded = list(numbers.shape)
    numbers = torch.roll(numbers, [-by for by in shift], (0, 1, 2))
    windows = window_partition(numbers[None, ..., None], window)[..., 0].long()
    sees = torch.ones(*windows.shape, windows.shape[1], dtype=torch.bool)
    if any(shift):
        sees = compute_mask(padded, window, shift, CPU) == 0
    found = set()
    for number, first, second in sees.nonzero().tolist():
        pair = int(windows[number, first]), int(windows[number, second])
        if pair[0] >= 0:
            found.add((*pair, first, second))
    return found


def pairs_of_boxes(shape: Size, window: Size, shift: Size) -> set[tuple[int, ...]]:
    found = set()
    for kind in window_boxes(shape, window, shift, CPU):
        places, padding = kind.places.tolist(), kind.padding.tolist()
        for tokens in kind.tokens.tolist():
            for token, place in zip(tokens, places, strict=True):
                found |= {(token, other, place, at) for other, at in zip(tokens, places, strict=True)}
                found |= {(token, -1, place, at) for at in padding}
    return found


SIDES = st.tuples(*[st.integers(1, 5)] * 3)


@settings(max_examples=25, deadline=None)
@given(SIDES, st.integers(1, 3), st.booleans())
def test_tokens_see_each_other_where_monai_says_so(shape: Size, side: int, shifted: bool) -> None:
    shift = [side // 2 if shifted else 0] * 3
    window, shift = get_window_size(shape, [side] * 3, shift)
    assert pairs_of_boxes(shape, window, shift) == pairs_of_monai(shape, window, shift)


@given(st.tuples(*[st.integers(1, 17)] * 3), st.tuples(*[st.integers(1, 7)] * 3), st.booleans())
def test_every_token_is_in_one_box(shape: Size, window: Size, shifted: bool) -> None:
    window = tuple(min(pair) for pair in zip(shape, window, strict=True))
    shift = tuple(side // 2 if shifted else 0 for side in window)
    tokens: list[Tensor] = [kind.tokens.reshape(-1) for kind in window_boxes(shape, window, shift, CPU)]
    assert torch.equal(torch.cat(tokens).sort().values, torch.arange(math.prod(shape)))
