"""The compiled attention against torch's attention, in float32, and what must hold of both."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedswin.swin import compiled
from fedswin.swin.attention import windowed_attention
from fedswin.swin.fused_attention import fused_attention, is_fused
from fedswin.swin.position_bias import position_bias
from fedswin.swin.windows import Boxes, window_boxes

pytest.importorskip("numba")
WINDOW = (3, 3, 3)
PLACES = math.prod(WINDOW)
INDEX = torch.randint(5**3, (PLACES, PLACES), generator=torch.Generator().manual_seed(3))


def inputs(tokens: int, heads: int, head_size: int, seed: int = 0) -> list[Tensor]:
    """Random queries, keys and values, those of padding, and a table of biases; all with gradients."""
    random = torch.Generator().manual_seed(seed)
    shapes = [(2, tokens, 3, heads, head_size), (2, heads, head_size), (5**3, heads)]
    return [torch.randn(shape, generator=random).requires_grad_() for shape in shapes]


def by_torch(qkv: Tensor, padding: Tensor, table: Tensor, boxes: tuple[Boxes, ...]) -> Tensor:
    """In float64, which the kernels do not take."""
    qkv, padding, table = (tensor.double() for tensor in (qkv, padding, table))
    return windowed_attention(qkv, padding, [position_bias(table, INDEX, kind) for kind in boxes], 0.6, boxes)


def fused(qkv: Tensor, padding: Tensor, table: Tensor, boxes: tuple[Boxes, ...]) -> Tensor:
    return fused_attention(qkv, padding, [position_bias(table, INDEX, kind) for kind in boxes], 0.6, boxes)


def partly(qkv: Tensor, padding: Tensor, table: Tensor, boxes: tuple[Boxes, ...]) -> Tensor:
    """The way of larger heads: torch multiplies, and the kernels do the softmax."""
    return windowed_attention(qkv, padding, [position_bias(table, INDEX, kind) for kind in boxes], 0.6, boxes)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 8)] * 3),
    shift=st.sampled_from([(0, 0, 0), (1, 1, 1)]),
    heads=st.integers(1, 3),
    head_size=st.integers(1, 8),
    seed=st.integers(0, 9),
    attend=st.sampled_from([fused, partly]),
)
def test_outputs_and_gradients_are_torchs(
    shape: tuple[int, int, int], shift: tuple[int, int, int], heads: int, head_size: int, seed: int, attend: Any
) -> None:
    boxes = window_boxes(shape, WINDOW, shift, torch.device("cpu"))
    given_ones = inputs(math.prod(shape), heads, head_size, seed)
    weights = torch.randn(2, math.prod(shape), heads, head_size, generator=torch.Generator().manual_seed(seed))
    out, expected = attend(*given_ones, boxes), by_torch(*given_ones, boxes)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    found, right = (torch.autograd.grad((result * weights).sum(), given_ones) for result in (out, expected))
    for gradient, exact in zip(found, right, strict=True):
        torch.testing.assert_close(gradient, exact, rtol=0, atol=1e-5 * max(1.0, float(exact.abs().max())))


@pytest.mark.parametrize("size", [1e-3, 30.0, 1e4])
def test_logits_of_any_size_give_weights_that_add_up_to_one(size: float) -> None:
    boxes = window_boxes((5, 4, 3), WINDOW, (1, 1, 1), torch.device("cpu"))
    qkv, padding, table = inputs(60, 2, 4)
    qkv, padding = qkv.detach() * size, padding.detach() * size
    qkv[:, :, 2], padding[1] = 1.0, 1.0
    torch.testing.assert_close(fused(qkv, padding, table, boxes), torch.ones(2, 60, 2, 4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("attend", [fused, partly])
def test_what_is_not_finite_is_not_hidden(attend: Any, bad: float) -> None:
    boxes = window_boxes((3, 3, 3), WINDOW, (0, 0, 0), torch.device("cpu"))
    qkv, padding, table = inputs(27, 2, 4)
    with torch.no_grad():
        qkv[0, 5, 0, 1, 2] = bad  # a query
    out = attend(qkv, padding, table, boxes)
    assert not out[0, 5, 1].isfinite().any()
    assert out[1].isfinite().all()
    assert not torch.autograd.grad(out.sum(), qkv)[0].isfinite().all()


@pytest.mark.parametrize("attend", [fused, partly])
def test_threads_change_rounding_alone_and_as_many_give_the_same_bits(attend: Any) -> None:
    boxes = window_boxes((8, 7, 6), WINDOW, (1, 1, 1), torch.device("cpu"))

    def run(threads: int) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            out = attend(*(given := inputs(8 * 7 * 6, 2, 4)), boxes)
            return [out, *torch.autograd.grad(out.square().sum(), given)]
        finally:
            torch.set_num_threads(before)

    alone, three, again = run(1), run(3), run(3)
    assert all(torch.equal(one, other) for one, other in zip(three, again, strict=True))
    torch.testing.assert_close(three, alone)


def test_it_is_for_small_heads_in_32_bits_on_a_cpu() -> None:
    assert is_fused(torch.zeros(1, 4))
    assert not is_fused(torch.zeros(1, 16))
    for other in (torch.zeros(1, 4).double(), torch.zeros(1, 4).bfloat16(), torch.zeros(1, 4, device="meta")):
        assert not is_fused(other)


def test_without_numba_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = window_boxes((5, 4, 3), WINDOW, (1, 1, 1), torch.device("cpu"))
    expected = partly(*inputs(60, 2, 4), boxes)
    monkeypatch.setattr(compiled, "kernels", None)
    assert not is_fused(torch.zeros(1, 4))
    torch.testing.assert_close(partly(*inputs(60, 2, 4), boxes), expected)
