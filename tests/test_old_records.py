"""What an older FedSwin wrote down is read as what it did, and a job file as what it says today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from end_to_end import tiny
from fedswin.config import Job, load_job, parse_job
from fedswin.errors import FedSwinError
from fedswin.run_folder import require_run_of, start_run
from fedswin.weights.file import Weights, load_weights, save_weights


def older(job: Job) -> dict[str, Any]:
    """The job as it was written when the Dice loss was always squared."""
    content = job.as_dict()
    del content["segmentation"]["squared_dice"]
    return content


def test_a_job_file_without_the_setting_has_the_default(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(tiny.FINETUNE))
    assert load_job(tmp_path / "job.yaml").segmentation.squared_dice is False
    assert parse_job(tiny.job(tiny.FINETUNE).as_dict(), "here") == tiny.job(tiny.FINETUNE)


def test_a_run_of_then_is_gone_on_with_by_the_job_that_does_the_same(tmp_path: Path) -> None:
    plain = tiny.job(tiny.FINETUNE)
    squared = plain.changed("segmentation", squared_dice=True)
    start_run(tmp_path / "run", plain)
    (tmp_path / "run" / "job.yaml").write_text(yaml.safe_dump(older(plain)))
    require_run_of(tmp_path / "run", squared)
    with pytest.raises(FedSwinError, match="holds a run of another job"):
        require_run_of(tmp_path / "run", plain)


def test_a_model_of_then_says_how_it_was_trained(tmp_path: Path) -> None:
    job = tiny.job(tiny.FINETUNE)
    save_weights(tmp_path / "model.pt", Weights({"w": torch.ones(2)}, job))
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    torch.save({**content, "job": older(job)}, tmp_path / "older.pt")
    assert load_weights(tmp_path / "model.pt").job.segmentation.squared_dice is False
    assert load_weights(tmp_path / "older.pt").job.segmentation.squared_dice is True


def test_pre_training_has_no_such_loss() -> None:
    assert parse_job(older(tiny.job(tiny.PRETRAIN)), "here") == tiny.job(tiny.PRETRAIN)


def test_a_run_of_then_with_the_former_learning_rate_of_fedadam_is_still_read(tmp_path: Path) -> None:
    content = tiny.job(tiny.PRETRAIN).as_dict()
    content["federation"]["aggregation"] |= {"optimizer": "fedadam", "learning_rate": 1.0}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))
    job = load_job(tmp_path / "job.yaml")
    assert job.federation.aggregation.learning_rate == 1.0
    save_weights(tmp_path / "model.pt", Weights({"w": torch.ones(2)}, job))
    assert load_weights(tmp_path / "model.pt").job == job


def test_a_job_file_is_refused_that_learning_rate() -> None:
    job = {**tiny.PRETRAIN, "federation": {"aggregation": {"optimizer": "fedadam", "learning_rate": 1.0}}}
    with pytest.raises(FedSwinError, match="too large for 'fedadam'"):
        parse_job(job, "here")


def test_a_job_file_that_has_every_section_is_no_record() -> None:
    job = {**tiny.FINETUNE, "pretraining": {"cutout_rate": 0.3}, "augmentation": {"flip": 0.5}}
    job["model"], job["trainer"] = {"feature_size": 12}, {"batch_size": 2, "device": "cpu"}
    assert {"data", "segmentation", "federation"} <= job.keys()
    assert parse_job(job, "here").segmentation.squared_dice is False
