"""The windowed attention against attention that is written out, and what it holds of it at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fedswin.swin import attention
from fedswin.swin.attention import gradients_on_cpu, gradients_on_gpu, windowed_attention
from fedswin.swin.windows import Boxes, window_boxes

HEADS, HEAD_SIZE, SCALE = 2, 3, 0.6
BOXES = window_boxes((5, 4, 3), (3, 3, 3), (1, 1, 1), torch.device("cpu"))
TOKENS = 5 * 4 * 3


def inputs(boxes: tuple[Boxes, ...] = BOXES, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Random queries, keys and values, those of padding, and a bias for each kind of boxes."""
    random = torch.Generator().manual_seed(0)
    tokens = sum(kind.tokens.numel() for kind in boxes)
    shapes = [(2, tokens, 3, HEADS, HEAD_SIZE), (2, HEADS, HEAD_SIZE)]
    for kind in boxes:
        size = len(kind.places)
        shapes.append((HEADS, size, size + bool(len(kind.padding))))
    return [torch.randn(shape, generator=random, dtype=dtype).requires_grad_() for shape in shapes]


def written_out(qkv: Tensor, padding: Tensor, *biases: Tensor) -> Tensor:
    """The same, box by box."""
    out = torch.zeros_like(qkv[:, :, 0])
    for kind, bias in zip(BOXES, biases, strict=True):
        for tokens in kind.tokens:
            query, key, value = qkv[:, tokens].permute(2, 0, 3, 1, 4)
            if len(kind.padding):
                key, value = (
                    torch.cat([rows, one.expand(2, HEADS, HEAD_SIZE)[:, :, None]], dim=2)
                    for rows, one in zip((key, value), padding, strict=True)
                )
            logits = SCALE * torch.einsum("bhqc,bhkc->bhqk", query, key) + bias
            weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
            out[:, tokens] = torch.einsum("bhqk,bhkc->bqhc", weights, value)
    return out


def ours(qkv: Tensor, padding: Tensor, *biases: Tensor) -> Tensor:
    return windowed_attention(qkv, padding, biases, SCALE, BOXES)


def test_it_is_attention_within_each_box() -> None:
    assert any(len(kind.padding) for kind in BOXES)
    torch.testing.assert_close(ours(*inputs()), written_out(*inputs()))


def test_its_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(ours, inputs(), fast_mode=True)


@pytest.mark.parametrize("at_a_time", [1, 1 << 30])
def test_how_many_windows_are_worked_out_at_a_time_changes_nothing(
    at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = torch.autograd.grad(ours(*(given := inputs())).square().sum(), given)
    monkeypatch.setitem(attention._AT_A_TIME, "cpu", at_a_time)
    found = torch.autograd.grad(ours(*(given := inputs())).square().sum(), given)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.bfloat16, 0.1)])
def test_a_gpu_is_given_the_same_to_do(dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's own kernels, which are there on a CPU, too, and in 16 bits with sums in 32."""

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        qkv, *others = given
        out = ours(qkv.to(dtype), *others)
        return out.double(), *torch.autograd.grad(out.double().square().sum(), given)

    expected = run(*inputs())
    assert expected[0].dtype == torch.float64
    monkeypatch.setattr(attention, "attend_on_cpu", attention.attend_on_gpu)
    monkeypatch.setattr(attention, "gradients_on_cpu", gradients_on_gpu)
    torch.testing.assert_close(run(*inputs()), expected, rtol=tolerance, atol=tolerance)


def test_both_ways_to_the_gradients_agree() -> None:
    random = torch.Generator().manual_seed(1)
    shapes = [(4, HEADS, 5, 3), (4, HEADS, 6, 3), (4, HEADS, 6, 3), (HEADS, 5, 6)]
    query, key, value, bias = (torch.randn(shape, generator=random) for shape in shapes)
    of_out = torch.randn(4, HEADS, 5, 3, generator=random)
    expected = gradients_on_gpu(query, key, value, bias, 0.3, of_out)
    torch.testing.assert_close(gradients_on_cpu(query, key, value, bias, 0.3, of_out), expected)


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [
            leaf.untyped_storage().nbytes() // leaf.element_size()
            for leaf in tree_leaves(result)
            if isinstance(leaf, Tensor)
        ]
        self.size = max([self.size, *sizes])
        return result


def test_the_attention_of_all_windows_is_never_held() -> None:
    boxes = window_boxes((28, 28, 28), (7, 7, 7), (0, 0, 0), torch.device("cpu"))
    [kind] = boxes
    given = inputs(boxes, torch.float32)
    of_all = 2 * HEADS * len(kind.tokens) * len(kind.places) ** 2
    with LargestTensor() as largest:
        windowed_attention(given[0], given[1], given[2:], SCALE, boxes).sum().backward()
    assert largest.size == max(given[0].numel(), 2 * HEADS * len(kind.places) ** 2)
    assert largest.size < of_all / 10
    assert math.prod(kind.tokens.shape) == 28**3
