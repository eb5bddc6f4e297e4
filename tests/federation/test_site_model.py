"""What a site sends of its model: all that a step trains and nothing else, in a quarter of the bytes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from end_to_end import tiny
from fedswin.config import FederationSettings, Job
from fedswin.data.datalist import Site, read_site
from fedswin.federation.encoding import Tensors
from fedswin.federation.exchange import Download, wire_bytes
from fedswin.federation.site_model import SiteModel
from fedswin.tasks import build_model, build_task
from fedswin.weights.file import parameters

PARTS = ("inpainting", "rotation", "contrastive")
WEIGHTS = [dict(zip(PARTS, weights, strict=True)) for weights in product((0, 1), repeat=3) if any(weights)]
TWO_TOKENS = {"data": {"roi": [32, 32, 64]}}  # in the bottleneck, which the head "vae" normalises


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return read_site(tiny.write_sites(tmp_path_factory.mktemp("hospitals"), {"a": 2}) / "a")


def pretraining(settings: dict[str, Any]) -> Job:
    return tiny.job({**tiny.PRETRAIN, "pretraining": settings})


def assert_that_a_step_reaches_all_that_is_sent(job: Job, site: Site) -> set[str]:
    """Take a step of the job at the site, and return the names of what it sends."""
    task = build_task(job, site, torch.device("cpu"))
    task.losses(task.batch(0))["loss"].backward()
    reached = {
        name
        for name, value in task.model.named_parameters()
        # A bias before a normalisation has a gradient of zero, but for rounding.
        if value.grad is not None and (name.endswith(".bias") or value.grad.any())
    }
    sent = set(SiteModel(task.model, job.federation).update())
    assert sent == reached
    return sent


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: "+".join(part for part in PARTS if weights[part]))
def test_pretraining_sends_the_encoder_and_the_heads_that_have_a_weight(weights: dict[str, int], site: Site):
    sent = assert_that_a_step_reaches_all_that_is_sent(pretraining({"loss_weights": weights}), site)
    heads = {"reconstruction" if part == "inpainting" else part for part in PARTS if weights[part]}
    assert {name.split(".")[0] for name in sent} == {"swinViT", *heads}


@pytest.mark.parametrize(("head", "size"), [("deconv5", {}), ("vae", TWO_TOKENS)])
def test_a_step_reaches_all_of_the_other_reconstruction_heads(head: str, size: dict[str, Any], site: Site):
    job = tiny.job({**tiny.PRETRAIN, **size, "pretraining": {"reconstruction_head": head}})
    assert_that_a_step_reaches_all_that_is_sent(job, site)


def test_a_step_of_fine_tuning_reaches_all_that_is_sent(site: Site):
    assert_that_a_step_reaches_all_that_is_sent(tiny.job(tiny.FINETUNE), site)


def test_what_has_been_sent_stays_as_it_is_while_the_model_is_trained_on():
    model = torch.nn.Linear(2, 2)
    update, before = SiteModel(model, FederationSettings()).update(), parameters(model)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    assert all(torch.equal(update[name], before[name]) for name in before)


def megabytes(tensors: Tensors) -> float:
    return wire_bytes(tensors) / 1e6


@pytest.mark.long
@pytest.mark.parametrize(
    "content",
    [
        {"task": "pretrain"},
        {"task": "pretrain", "pretraining": {"reconstruction_head": "deconv5"}},
        {"task": "finetune", "segmentation": {"classes": {f"organ{value}": value for value in range(1, 14)}}},
    ],
    ids=["transposed", "deconv5", "finetune"],
)
def test_int8_takes_a_quarter_of_a_whole_state_dict_in_fp32_at_feature_size_48(content: dict[str, Any]):
    """A state dict, which a stock recipe sends, has the position indices of the Swin transformer in it, too."""
    job = tiny.job({"name": "full_size", **content})
    model = build_model(job)
    stock = megabytes({name: value.detach() for name, value in model.state_dict().items()})
    up = {}
    for exchange in ("fp32", "fp16", "int8"):
        site_model = SiteModel(model, job.federation.model_copy(update={"exchange": exchange}))
        site_model.load(Download(parameters(model), 0, whole=True))
        up[exchange] = megabytes(site_model.update())
        print(f"{exchange}: {up[exchange]:.1f} MB, {up[exchange] / stock:.3f} of the {stock:.1f} MB of a state dict")
    assert up["int8"] <= stock / 4
    assert up["fp16"] <= stock / 2
    assert up["fp32"] < stock
