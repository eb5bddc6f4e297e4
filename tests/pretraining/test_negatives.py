"""Sub-volumes of one case and of one patient in a batch: what is drawn, counted, compared and told."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from end_to_end import tiny
from fedswin.config import Job
from fedswin.data.datalist import Site, read_site
from fedswin.data.loading import Volumes, case_order, random_crop
from fedswin.errors import FedSwinError
from fedswin.pretraining.losses import contrastive_chance, contrastive_loss
from fedswin.pretraining.negatives import same_patient_share
from fedswin.pretraining.rotation import rotate
from fedswin.pretraining.task import PretrainingTask, Views
from fedswin.seeds import generator

PATIENTS = st.lists(st.integers(0, 3), min_size=1, max_size=6)
COUNTS = [(1, 4), (2, 1), (2, 2), (3, 1), (3, 2), (5, 1)]
"""Draws of a case in a batch, and sub-volumes of each."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Six cases, two each of three patients, and two of one patient for validation."""
    site = read_site(tiny.write_sites(tmp_path_factory.mktemp("sites"), {"a": 6}) / "a")
    training = [replace(case, patient=f"p{number // 2}") for number, case in enumerate(site.cases("training"))]
    return replace(site, splits={"training": training, "validation": site.cases("validation")})


def of_patients(site: Site, *patients: str) -> Site:
    cases = site.cases("training")[: len(patients)]
    named = [replace(case, patient=patient) for case, patient in zip(cases, patients, strict=True)]
    return replace(site, splits={**site.splits, "training": named})


def make_job(batch_size: int = 4, **pretraining: Any) -> Job:
    trainer = {**tiny.PRETRAIN["trainer"], "batch_size": batch_size}
    return tiny.job(
        {**tiny.PRETRAIN, "trainer": trainer, "pretraining": {**tiny.PRETRAIN["pretraining"], **pretraining}}
    )


def task_of(job: Job, site: Site, told: list[str] | None = None) -> PretrainingTask:
    return PretrainingTask(job, site, torch.device("cpu"), (told if told is not None else []).append)


def crops_of(job: Job, site: Site, number: int, crops: int) -> Tensor:
    """The sub-volumes of a training batch, drawn one after the other, ``crops`` from each case in turn."""
    volumes = Volumes(site.cases("training"), job)
    cases = job.trainer.batch_size // crops
    order = case_order(
        len(volumes), number * cases, cases, lambda epoch: generator(job.seed, "a", "training", "order", epoch)
    )
    rng = generator(job.seed, "a", "training", "views", number)
    return torch.stack([random_crop(volumes[case], job.data, rng) for case in order for _ in range(crops)])


def turned_back(batch: Views) -> Tensor:
    """The first views without their rotation."""
    count = len(batch.target) // 2
    return rotate(batch.target[:count], (4 - batch.turns[:count]) % 4, "z")


@pytest.mark.parametrize("crops", [1, 2, 4])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_batch_holds_so_many_sub_volumes_of_each_case(site: Site, crops: int, number: int) -> None:
    job = make_job(crops_per_case=crops)
    batch = task_of(job, site).batch(number)
    assert torch.equal(turned_back(batch), crops_of(job, site, number, crops))
    assert all(len(set(of_case.tolist())) == 1 for of_case in batch.patients.split(crops))


def test_every_case_comes_once_an_epoch_whatever_the_crops_of_each(site: Site) -> None:
    tasks = task_of(make_job(crops_per_case=2), site)
    epoch = torch.cat([tasks.batch(number).patients for number in range(3)])
    assert epoch.bincount().tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("batch_size", "pretraining", "message"),
    [
        (4, {"crops_per_case": 3}, "trainer.batch_size 4 is not a multiple"),
        (
            2,
            {"crops_per_case": 2, "contrastive_negatives": "other_patients"},
            "all 2 sub-volumes of a batch",
        ),
    ],
)
def test_what_leaves_no_negative_or_no_whole_case_is_refused(
    batch_size: int, pretraining: dict[str, Any], message: str
) -> None:
    with pytest.raises(FedSwinError, match=message):
        make_job(batch_size, **pretraining)


def test_patients_of_pooled_sites_are_their_own(site: Site) -> None:
    cases = [replace(case, patient="p", site=name) for case, name in zip(site.cases("training"), "aab", strict=False)]
    assert Volumes(cases, make_job()).patients == [0, 0, 1]


def share_by_hand(patients: Sequence[int], cases: int, crops: int) -> float:
    """The same over every order that two, three or more epochs can have, or many of them, with every pair compared."""
    count, rng = len(patients), np.random.default_rng(0)
    batches = math.lcm(cases, count) // cases
    found = []
    for _ in range(10000 // (batches * cases) + 200):
        drawn = case_order(count, 0, batches * cases, lambda epoch: rng)
        for start in range(0, len(drawn), cases):
            of = [patients[case] for case in drawn[start : start + cases] for _ in range(crops)]
            found.append(np.mean([one == other for one, other in permutations(of, 2)]))
    return float(np.mean(found))


@settings(max_examples=25, deadline=None)
@given(PATIENTS, st.sampled_from(COUNTS))
def test_the_share_of_one_patient_is_that_of_the_order_in_which_cases_are_drawn(
    patients: list[int], counts: tuple[int, int]
) -> None:
    assert same_patient_share(patients, *counts) == pytest.approx(share_by_hand(patients, *counts), abs=0.05)


@pytest.mark.parametrize(
    ("patients", "cases", "crops", "expected"),
    [
        ([0, 1, 2, 3], 4, 1, 0),  # a batch is an epoch
        ([0, 1, 2, 3], 2, 2, 1 / 3),  # of the three others one is of the same case
        ([0, 1], 1, 2, 1),  # the reference code's batch
        ([0, 1], 4, 1, 1 / 3),  # both cases twice
        ([0, 0, 1, 1], 2, 1, 1 / 3),
        ([0], 4, 1, 1),
    ],
)
def test_shares_that_can_be_counted(patients: list[int], cases: int, crops: int, expected: float) -> None:
    assert same_patient_share(patients, cases, crops) == pytest.approx(expected)


def nt_xent_of_other_patients(codes: Tensor, patients: Sequence[int], temperature: float) -> tuple[float, float]:
    """The loss and its chance, view by view and pair by pair, in double precision."""
    views, count = len(codes), len(patients)
    loss = chance = 0.0
    for i in range(views):
        partner = (i + count) % views
        candidates = [k for k in range(views) if k == partner or patients[k % count] != patients[i % count]]
        cosine = {k: float(torch.cosine_similarity(codes[i], codes[k], dim=0)) / temperature for k in candidates}
        loss += math.log(sum(math.exp(cosine[k]) for k in candidates)) - cosine[partner]
        chance += math.log(len(candidates))
    return loss / views, chance / views


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=6), st.sampled_from([0.1, 0.5]), st.integers(0, 1000))
def test_views_of_the_same_patient_are_no_negatives(patients: list[int], temperature: float, seed: int) -> None:
    first, second = torch.randn(2, len(patients), 8, generator=torch.Generator().manual_seed(seed))
    loss, chance = nt_xent_of_other_patients(torch.cat([first, second]).double(), patients, temperature)
    of = torch.tensor(patients)
    assert float(contrastive_loss(first, second, temperature, of)) == pytest.approx(loss, rel=1e-4, abs=1e-6)
    assert contrastive_chance(len(patients), of) == pytest.approx(chance)
    same = torch.ones_like(first)
    assert float(contrastive_loss(same, same, temperature, of)) == pytest.approx(chance, abs=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_where_each_sub_volume_is_of_another_patient_it_is_equation_5_bit_for_bit(count: int) -> None:
    first, second = torch.randn(2, count, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(contrastive_loss(first, second, 0.5, torch.arange(count)), contrastive_loss(first, second, 0.5))
    assert (
        contrastive_chance(count)
        == contrastive_chance(count, torch.arange(count))
        == pytest.approx(math.log(2 * count - 1))
    )


def test_a_batch_of_one_patient_has_a_loss_and_a_gradient_of_0() -> None:
    first, second = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    first.requires_grad_()
    loss = contrastive_loss(first, second, 0.5, torch.zeros(3, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0
    assert first.grad is not None
    assert not first.grad.any()


def test_the_setting_reaches_the_loss(site: Site) -> None:
    losses = {}
    for negatives in ("all", "other_patients"):
        task = task_of(make_job(contrastive_negatives=negatives, crops_per_case=2), site)
        batch = task.batch(0)
        first, second = task.model(batch.masked).embedding.chunk(2)
        of = batch.patients if negatives == "other_patients" else None
        losses[negatives] = float(task.losses(batch)["contrastive"].detach())
        assert losses[negatives] == float(contrastive_loss(first, second, 0.5, of).detach())
    assert losses["other_patients"] < losses["all"]


def test_a_site_is_told_how_many_negatives_are_of_the_same_patient(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    with caplog.at_level(logging.INFO):
        task_of(make_job(), site, told)
    text = "training: 6 cases of 3 patients, batches of 4: 23% of the contrastive negatives are of a view's own patient"
    assert same_patient_share([0, 0, 1, 1, 2, 2], 4, 1) == pytest.approx(0.2296, abs=1e-4)
    assert text in told
    assert text in caplog.messages
    told.clear()
    task_of(make_job(loss_weights={"contrastive": 0}), site, told)
    assert not any("negatives" in line for line in told)


def test_a_site_with_a_single_patient_is_warned_or_left_with_nothing_to_learn(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    single, told = of_patients(site, "p", "p"), []
    task_of(make_job(contrastive_negatives="other_patients"), single, told)
    expected = "training: 2 cases of 1 patients, batches of 4: there is no other patient, so the contrastive loss is 0"
    assert expected in told
    assert expected in [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    alone = {"inpainting": 0, "rotation": 0}
    with pytest.raises(FedSwinError, match="a has a single patient for training"):
        task_of(make_job(contrastive_negatives="other_patients", loss_weights=alone), single)
