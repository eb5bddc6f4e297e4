"""MONAI's networks with the windowed attention against the same networks without."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import BasicLayer, SwinTransformer, SwinTransformerBlock, WindowAttention
from torch import Tensor, nn

from end_to_end import tiny
from fedswin.pretraining.heads import build_pretrainer
from fedswin.segmentation.model import build_segmenter
from fedswin.swin.blocks import use_windowed_attention

SHAPES = [
    (32, 32, 32),  # ends with a single token
    (64, 64, 64),  # windows of 7 that are padded from 32, 16 and 8 tokens, and at the end one of 4
    (32, 64, 96),
    (48, 36, 40),  # sides that are odd in tokens, which merging pads
    (28, 14, 14),  # whole windows, and then smaller ones
]


def encoder(**settings: Any) -> SwinTransformer:
    """Return MONAI's encoder with biases that are not 0, as they are in training."""
    torch.manual_seed(0)
    network = SwinTransformer(1, 12, (7, 7, 7), (2, 2, 2), (2, 2, 2, 2), (3, 6, 12, 24), **settings)
    return with_biases(network)


def with_biases(network: Any) -> Any:
    for name, parameter in network.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter, std=0.5)
    return network


def run(network: nn.Module, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the outputs, and the gradients of a sum of theirs."""
    image = image.clone().requires_grad_()
    outputs = network(image)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    weights = torch.Generator().manual_seed(2)
    total = sum((out * torch.randn(out.shape, generator=weights)).sum() for out in outputs)
    inputs = [image, *(parameter for parameter in network.parameters() if parameter.requires_grad)]
    return outputs, list(torch.autograd.grad(total, inputs, allow_unused=True))


def assert_same(network: nn.Module, image: Tensor) -> None:
    """Outputs to 1e-5, gradients to 1e-4 of the largest of a parameter."""
    own = copy.deepcopy(network)
    use_windowed_attention(own)
    assert list(own.state_dict()) == list(network.state_dict())
    (outputs, gradients), (own_outputs, own_gradients) = run(network, image), run(own, image)
    torch.testing.assert_close(own_outputs, outputs, rtol=1e-5, atol=1e-5)
    for own_gradient, gradient in zip(own_gradients, gradients, strict=True):
        if gradient is not None:
            size = float(gradient.abs().max())
            torch.testing.assert_close(own_gradient, gradient, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_encoder_gives_what_monais_gives(shape: tuple[int, ...]) -> None:
    assert_same(encoder(), torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(1)))


def test_so_it_does_with_gradient_checkpointing() -> None:
    assert_same(encoder(use_checkpoint=True), torch.randn(1, 1, 64, 32, 32))


def test_so_does_the_whole_segmentation_network() -> None:
    torch.manual_seed(0)
    network = with_biases(SwinUNETR(in_channels=2, out_channels=3, feature_size=12)).double()
    assert_same(network, torch.randn(1, 2, 64, 32, 32, dtype=torch.float64))


@pytest.mark.parametrize("build", [build_pretrainer, build_segmenter])
def test_a_job_may_keep_monais_own_modules(build: Any) -> None:
    content = tiny.PRETRAIN if build is build_pretrainer else tiny.FINETUNE
    stock, own = (
        build(tiny.job({**content, "model": {"feature_size": 12, "attention": kind}})) for kind in ("monai", "windowed")
    )
    theirs = {BasicLayer, SwinTransformerBlock, WindowAttention}
    assert {type(module) for module in stock.modules()} >= theirs
    assert {type(module) for module in own.modules()} & theirs == {WindowAttention}  # which holds the parameters
    for name, tensor in stock.state_dict().items():
        assert torch.equal(own.state_dict()[name], tensor)
