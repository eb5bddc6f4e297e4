"""The diagnostics of pre-training, against closed forms, and of the models that they are there to find."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from end_to_end import tiny
from fedswin.config import Job
from fedswin.data.datalist import Site, read_site
from fedswin.pretraining.diagnostics import (
    accuracy_by_patient,
    feature_spread,
    pooled_features,
    rank_me,
)
from fedswin.pretraining.losses import contrastive_chance, contrastive_loss
from fedswin.pretraining.task import PretrainingTask
from fedswin.pretraining.verdict import judge_site, views_of

JOB = tiny.job({**tiny.PRETRAIN, "pretraining": {"reconstruction_head": "deconv5", "validation_batches": 3}})


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("rows", [1, 5, 12])
def test_orthonormal_rows_have_the_rank_of_their_number(rows: int) -> None:
    basis = torch.linalg.qr(normal(20, rows)).Q.T
    assert rank_me(basis) == pytest.approx(rows, rel=1e-4)


def test_views_on_one_line_have_rank_one_and_nothing_has_none() -> None:
    assert rank_me(normal(30, 1) @ normal(1, 20)) == pytest.approx(1, rel=1e-3)
    assert rank_me(torch.ones(30, 20, dtype=torch.float64)) == pytest.approx(1, rel=1e-3)
    assert rank_me(torch.zeros(30, 20)) == 0


def test_two_directions_of_unequal_strength_have_the_exponential_of_their_entropy() -> None:
    features = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert rank_me(features) == pytest.approx(math.exp(entropy), rel=1e-5)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_the_rank_is_at_most_the_smaller_size(views: int, width: int, seed: int) -> None:
    assert 0.99 < rank_me(normal(views, width, seed=seed)) < min(views, width) * 1.001


def test_the_spread_is_that_over_views_and_not_over_features() -> None:
    constant = torch.arange(6.0).expand(9, 6)
    assert feature_spread(constant) == 0
    assert feature_spread(torch.tensor([[1.0, -2.0], [-1.0, 2.0]])) == 1.5
    features = normal(11, 7)
    assert feature_spread(features) == pytest.approx(np.std(features.numpy(), axis=0).mean())


def test_features_are_the_mean_of_the_tokens() -> None:
    bottleneck = normal(2, 3, 2, 1, 2).float()
    expected = bottleneck.numpy().astype(np.float64).mean(axis=(2, 3, 4))
    assert np.allclose(pooled_features(bottleneck), expected, atol=1e-12)


@pytest.mark.parametrize("sub_volumes", [2, 4, 7])
def test_codes_that_are_all_alike_have_the_loss_of_chance(sub_volumes: int) -> None:
    codes = torch.ones(sub_volumes, 16)
    assert float(contrastive_loss(codes, codes, 0.5)) == pytest.approx(contrastive_chance(sub_volumes))


def test_a_patient_with_many_views_counts_once() -> None:
    many, few = ("", "many"), ("", "few")
    found = accuracy_by_patient([(many, True)] * 6 + [(many, False)] * 2 + [(few, False)] * 2)
    assert found
    assert found == (2, pytest.approx(0.375), pytest.approx(stdev([0.75, 0.0])))


def test_patients_of_the_same_name_at_two_sites_are_two() -> None:
    found = accuracy_by_patient([(("a", "p1"), True), (("b", "p1"), False)])
    assert found
    assert (found.patients, found.mean) == (2, 0.5)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Five validation cases of three patients."""
    site = read_site(tiny.write_sites(tmp_path_factory.mktemp("sites"), {"a": 4}) / "a")
    cases = [*site.cases("training"), *site.cases("validation")]
    owners = ["p0", "p0", "p0", "p1", "p2"]
    cases = [replace(case, patient=owner) for case, owner in zip(cases, owners, strict=True)]
    return replace(site, splits={"training": cases, "validation": cases})


def task_of(site: Site, job: Job = JOB) -> PretrainingTask:
    return PretrainingTask(job, site, torch.device("cpu"), lambda text: None)


def test_a_model_is_scored_by_patient_on_the_fixed_batches(site: Site) -> None:
    task = task_of(site)
    found = task.validate()
    right: dict[int, list[bool]] = defaultdict(list)
    features = []
    task.model.eval()
    for number in range(3):
        batch = task._draw(task._validation, "validation", number)
        with torch.no_grad():
            predicted = task.model(batch.masked)
        features.append(predicted.bottleneck.numpy().astype(np.float64).mean(axis=(2, 3, 4)))
        for view, guess in enumerate(predicted.rotation.argmax(dim=1).tolist()):
            right[int(batch.patients[view % len(batch.patients)])].append(guess == int(batch.turns[view]))
    shares = [sum(own) / len(own) for own in right.values()]
    assert sum(map(len, right.values())) == views_of(JOB) == 12
    assert found.metrics["rotation_accuracy"] == pytest.approx(mean(shares))
    assert found.metrics["rotation_accuracy_sd"] == pytest.approx(stdev(shares))
    assert found.scored == {"rotation_accuracy": 3}
    assert found.metrics["contrastive_share"] == pytest.approx(found.metrics["contrastive"] / math.log(3))
    values = np.linalg.svd(np.concatenate(features), compute_uv=False)
    shares_of_sum = values / values.sum()
    assert found.metrics["feature_rank"] == pytest.approx(np.exp(-(shares_of_sum * np.log(shares_of_sum)).sum()), 1e-4)
    assert found.metrics["feature_spread"] == pytest.approx(np.concatenate(features).std(axis=0).mean())
    assert set(found.metrics) == set(JOB.reported)


def test_scoring_twice_gives_the_same_numbers(site: Site) -> None:
    task = task_of(site)
    assert task.validate() == task.validate()


def test_a_model_that_does_not_look_has_collapsed(site: Site) -> None:
    task = task_of(site)
    with torch.no_grad():
        task.model.swinViT.patch_embed.proj.weight.zero_()
    found = task.validate()
    assert found.metrics["feature_spread"] < 1e-5
    assert found.metrics["contrastive_share"] == pytest.approx(1, abs=1e-5)
    learning = judge_site(JOB, {**found._asdict(), "validation_cases": 5})
    assert learning
    assert learning.verdict == "collapsed"
    assert learning.line.endswith("rank 1 of 12: collapsed")


def test_an_untrained_model_is_at_chance(site: Site) -> None:
    learning = judge_site(JOB, {**task_of(site).validate()._asdict(), "validation_cases": 5})
    assert learning
    assert learning.verdict == "at chance"


def test_a_model_whose_features_are_not_finite_has_none(site: Site) -> None:
    task = task_of(site)
    with torch.no_grad():
        task.model.swinViT.patch_embed.proj.weight.fill_(math.nan)
    assert not {"feature_spread", "feature_rank", "contrastive_share"} & set(task.validate().metrics)


@pytest.mark.parametrize("task", ["rotation", "contrastive"])
def test_a_task_without_weight_has_no_diagnostic(site: Site, task: str) -> None:
    weights = {"inpainting": 1, "rotation": 1, "contrastive": 1, task: 0}
    settings = {"reconstruction_head": "deconv5", "validation_batches": 3, "loss_weights": weights}
    job = tiny.job({**tiny.PRETRAIN, "pretraining": settings})
    found = task_of(site, job).validate().metrics
    assert not [name for name in (*found, *job.reported) if name.startswith(task)]
    assert set(found) == set(job.reported)
