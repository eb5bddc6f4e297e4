"""The networks of fine-tuning: the linear one against one convolution on concatenated features, and its encoder."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv3d, interpolate

from end_to_end import tiny
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.segmentation.model import build_segmenter
from fedswin.tasks import build_model
from fedswin.weights.dialects import InitialWeights
from fedswin.weights.file import parameters
from fedswin.weights.handover import initial_state

ROI = (64, 32, 32)
CLASSES = {"one": 1, "two": 2}


def job(decoder: str, **trainer: object) -> Job:
    content = {**tiny.FINETUNE, "trainer": {**tiny.FINETUNE["trainer"], **trainer}}
    return tiny.job({**content, "segmentation": {"classes": CLASSES, "decoder": decoder}})


def test_the_linear_decoder_is_one_convolution_on_the_concatenated_upsampled_features() -> None:
    network = build_segmenter(job("linear")).eval()
    image = torch.rand(2, 1, *ROI, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = [interpolate(level, ROI, mode="trilinear") for level in network.swinViT(image)]
        weight = torch.cat([convolution.weight for convolution in network.out], dim=1)
        expected = conv3d(torch.cat(features, dim=1), weight, network.out[0].bias)
        logits = network(image)
    assert logits.shape == (2, 1 + len(CLASSES), *ROI)
    assert sum(level.shape[1] for level in features) == (1 + 2 + 4 + 8 + 16) * 12
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_beside_the_encoder_it_has_one_weight_for_each_feature_and_class_and_a_bias_for_each_class() -> None:
    own = [
        t.numel() for name, t in parameters(build_segmenter(job("linear"))).items() if not name.startswith("swinViT")
    ]
    assert sum(own) == (31 * 12 + 1) * (1 + len(CLASSES))


def test_from_the_same_seed_the_encoder_is_the_same_with_either_decoder_and_has_the_same_keys() -> None:
    linear, unetr = (
        {name: t for name, t in parameters(build_segmenter(job(decoder))).items() if name.startswith("swinViT.")}
        for decoder in ("linear", "unetr")
    )
    assert linear.keys() == unetr.keys()
    assert all(torch.equal(linear[name], unetr[name]) for name in linear)


def test_a_pre_trained_encoder_is_handed_over_whole_and_the_rest_is_the_output_layer() -> None:
    encoder = parameters(build_model(tiny.job({**tiny.PRETRAIN, "seed": 5})))
    handover = initial_state(job("linear"), InitialWeights("FedSwin", encoder, [], "0", 0))
    parts = handover.parts()
    assert sum(name.startswith("swinViT.") for name in handover.matched) == len(handover.matched) == 118
    assert (parts["output layer"].new, parts["heads"].unused, "decoder" in parts) == (6, 18, False)


def test_a_linear_decoder_takes_any_sub_volume_and_the_other_one_none_that_is_too_small() -> None:
    content = {**tiny.FINETUNE, "data": {"roi": [32, 32, 32]}}
    linear = tiny.job({**content, "segmentation": {"classes": CLASSES, "decoder": "linear"}})
    assert build_segmenter(linear)(torch.rand(1, 1, 32, 32, 32)).shape == (1, 3, 32, 32, 32)
    with pytest.raises(FedSwinError, match="at least one side of 64"):
        tiny.job(content)


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (["swinVit"], "trainer.frozen names 'swinVit', a module .* .did you mean 'swinViT'"),
        (["swinViT", "out"], "trainer.frozen covers all of the model, so nothing is trained"),
    ],
)
def test_what_cannot_be_frozen_is_refused_before_anything_runs(frozen: list[str], message: str) -> None:
    with pytest.raises(FedSwinError, match=message):
        initial_state(job("linear", frozen=frozen))
