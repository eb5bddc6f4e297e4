"""The job file: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedswin.config import Job, load_job, parse_job
from fedswin.errors import FedSwinError

JOBS = sorted((Path(__file__).parents[1] / "jobs").rglob("*.yaml"))
PRETRAIN = {"name": "p", "task": "pretrain"}
FINETUNE = {"name": "f", "task": "finetune", "segmentation": {"classes": {"liver": 6}}}


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_every_job_file_of_the_project_is_valid(path):
    job = load_job(path)
    assert parse_job(job.as_dict(), "again") == job


def test_the_defaults_are_the_papers():
    job = Job.model_validate(PRETRAIN)
    assert (job.model.feature_size, job.data.roi, job.trainer.batch_size) == (48, (96, 96, 96), 4)
    assert (job.trainer.learning_rate, job.trainer.weight_decay, job.trainer.warmup_steps) == (4e-4, 1e-5, 500)
    assert job.total_steps == 450_000
    assert (job.pretraining.rotation_axis, job.pretraining.cutout_rate, job.pretraining.embedding_size) == (
        "z",
        0.3,
        512,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {**PRETRAIN, "trainer": {"learning_rat": 1}},
            r"unknown key 'trainer.learning_rat' \(did you mean 'learning_r",
        ),
        ({**PRETRAIN, "federatoin": {}}, r"unknown key 'federatoin' \(did you mean 'federation'"),
        ({**PRETRAIN, "data": {"roi": [96, 96, 90]}}, "every side must be a multiple of 32"),
        ({**PRETRAIN, "data": {"roi": [64, 32, 32]}}, "the two sides perpendicular to z must be equal"),
        ({**PRETRAIN, "trainer": {"batch_size": 1}}, "contrastive coding needs at least 2 sub-volumes"),
        ({**PRETRAIN, "model": {"feature_size": 36}}, "model.feature_size"),
        ({**FINETUNE, "data": {"roi": [32, 32, 32]}}, "at least one side of 64"),
        ({**FINETUNE, "segmentation": {}}, "segmentation.classes is empty"),
        ({**FINETUNE, "segmentation": {"classes": {"a": 1, "b": [1, 2]}}}, "label value 1 is used twice"),
        ({**FINETUNE, "data": {"hu_window": [100, -100]}}, "the lower bound must be below"),
        ({"task": "pretrain"}, "name: Field required"),
        ({**PRETRAIN, "name": "two words"}, "name: "),
    ],
)
def test_a_wrong_job_is_refused_with_key_and_reason(content, message):
    with pytest.raises(FedSwinError, match=message):
        parse_job(content, "job.yaml")


def test_batch_size_1_is_fine_without_the_contrastive_loss():
    content = {**PRETRAIN, "trainer": {"batch_size": 1}, "pretraining": {"loss_weights": {"contrastive": 0}}}
    assert parse_job(content, "job.yaml").trainer.batch_size == 1


def test_set_overrides_a_setting_and_the_digest_shows_it(tmp_path):
    path = tmp_path / "a job.yaml"
    path.write_text("name: p\ntask: pretrain\n")
    job = load_job(path, ["federation.rounds=3", "data.roi=[32, 32, 64]"])
    assert (job.federation.rounds, job.data.roi) == (3, (32, 32, 64))
    assert job.digest != load_job(path).digest
    with pytest.raises(FedSwinError, match="did you mean 'rounds'"):
        load_job(path, ["federation.round=3"])
    with pytest.raises(FedSwinError, match="expected section.key=value"):
        load_job(path, ["federation.rounds"])


def test_a_job_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FedSwinError, match="missing.yaml"):
        load_job(tmp_path / "missing.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(FedSwinError, match="not valid YAML"):
        load_job(tmp_path / "bad.yaml")
