"""The pre-training model: its sizes, its choices, and what a task without weight leaves out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from fedswin.config import Job, parse_job
from fedswin.errors import FedSwinError
from fedswin.pretraining.heads import SwinPretrainer, build_pretrainer

TASKS = ("inpainting", "rotation", "contrastive")
HEADS = {"inpainting": "reconstruction", "rotation": "rotation", "contrastive": "contrastive"}


def job(feature_size: int = 12, roi: int = 32, **settings: Any) -> Job:
    content = {"name": "heads", "task": "pretrain", "model": {"feature_size": feature_size}}
    return parse_job({**content, "data": {"roi": [roi] * 3}, "pretraining": settings}, "test")


def millions(module: nn.Module | None) -> float:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize(("head", "size"), [("transposed", 25.2), ("deconv5", 3.1), ("vae", 10.6)])
def test_reconstruction_heads_have_the_published_sizes(head: str, size: float) -> None:
    model = build_pretrainer(job(feature_size=48, roi=96, reconstruction_head=head))
    assert millions(model.reconstruction) == pytest.approx(size, abs=0.06)


@pytest.mark.parametrize("head", ["transposed", "deconv5", "vae"])
def test_every_reconstruction_head_gives_a_volume_of_the_views_shape(head: str) -> None:
    model = build_pretrainer(job(roi=64, reconstruction_head=head))
    assert model.reconstruction(torch.rand(2, 192, 2, 2, 2)).shape == (2, 1, 64, 64, 64)  # type: ignore[misc]


def test_one_transposed_convolution_is_what_torch_does_for_it() -> None:
    head = build_pretrainer(job(roi=96)).reconstruction
    assert isinstance(head, nn.ConvTranspose3d)
    bottleneck = torch.rand(2, 192, 3, 2, 1)
    theirs = nn.functional.conv_transpose3d(bottleneck, head.weight, head.bias, stride=32)
    torch.testing.assert_close(head(bottleneck), theirs)


@pytest.mark.parametrize("present", [tasks for n in (1, 2, 3) for tasks in itertools.combinations(TASKS, n)])
def test_a_task_without_weight_has_no_head_no_prediction_and_no_bytes(present: tuple[str, ...]) -> None:
    model = build_pretrainer(job(reconstruction_head="deconv5", loss_weights={task: task in present for task in TASKS}))
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"swinViT", *(HEADS[task] for task in present)}
    with torch.no_grad():
        predicted = model(torch.rand(1, 1, 32, 32, 32))
    given = dict(zip(TASKS, predicted[: len(TASKS)], strict=True))
    assert {task for task, prediction in given.items() if prediction is not None} == set(present)


def read_by_heads(model: SwinPretrainer, bottleneck: torch.Tensor) -> dict[str, torch.Tensor]:
    """Let the encoder be a constant, and return what each head was given."""
    seen: dict[str, torch.Tensor] = {}

    def note(name: str) -> Any:
        return lambda module, inputs: seen.update({name: inputs[0]})

    for name in ("rotation", "contrastive"):
        getattr(model, name).register_forward_pre_hook(note(name))
    model.swinViT = nn.Identity()  # type: ignore[assignment]
    model.reconstruction = None
    model(bottleneck[None])  # the encoder returns a list, whose last is the bottleneck
    return seen


def test_heads_read_the_mean_over_tokens_or_as_the_reference_code_token_0_and_1() -> None:
    bottleneck = torch.rand(3, 192, 2, 2, 2)
    mean = read_by_heads(build_pretrainer(job(roi=64)), bottleneck)
    first = read_by_heads(build_pretrainer(job(roi=64, token_pooling="first")), bottleneck)
    torch.testing.assert_close(mean["rotation"], bottleneck.mean(dim=(2, 3, 4)))
    torch.testing.assert_close(mean["contrastive"], bottleneck.mean(dim=(2, 3, 4)))
    assert torch.equal(first["rotation"], bottleneck[:, :, 0, 0, 0])
    assert torch.equal(first["contrastive"], bottleneck[:, :, 0, 0, 1])


def test_the_rotation_head_is_an_mlp_or_as_in_the_reference_code_linear() -> None:
    mlp, linear = (build_pretrainer(job(rotation_head=head)).rotation for head in ("mlp", "linear"))
    assert isinstance(linear, nn.Linear)
    assert isinstance(mlp, nn.Sequential)
    assert not torch.equal(mlp(-torch.ones(192)), -mlp(torch.ones(192)))


@pytest.mark.parametrize("setting", [{"reconstruction_head": "vae"}, {"token_pooling": "first"}])
def test_what_needs_more_than_one_token_is_refused_at_a_roi_of_32(setting: dict[str, str]) -> None:
    with pytest.raises(FedSwinError, match="at least one side of 64"):
        job(**setting)
