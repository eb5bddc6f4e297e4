"""Which settings differ from the paper's."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedswin.config import load_job
from fedswin.report.deviations import FINETUNING, deviations

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize("name", ["pretrain", "finetune_btcv"])
def test_the_papers_own_jobs_differ_in_the_quorum_alone(name: str) -> None:
    [found] = deviations(load_job(JOBS / f"{name}.yaml"))
    assert (found.setting, found.value, found.usual, found.is_of_paper) == ("federation.min_sites", "2", "1", False)


def test_fine_tuning_is_compared_with_the_job_for_btcv() -> None:
    settings = load_job(JOBS / "finetune_btcv.yaml").as_dict()
    for name, value in FINETUNING.items():
        section, key = name.split(".")
        assert settings[section][key] == value


def test_the_reference_codes_job_differs_as_its_file_says() -> None:
    found = {deviation.setting: deviation.value for deviation in deviations(load_job(JOBS / "pretrain_reference.yaml"))}
    assert found == {
        "federation.rounds × local_steps": "100 000 (200 × 500)",
        "pretraining.rotation_axis": "x",
        "pretraining.cutout": "noise and swap",
        "pretraining.reconstruction_head": "vae",
        "pretraining.rotation_head": "linear",
        "pretraining.token_pooling": "first",
        "pretraining.crops_per_case": "2",
        "trainer.batch_size": "2",
        "trainer.learning_rate": "6e−6",
        "trainer.weight_decay": "0.1",
        "trainer.gradient_clip": "none",
        "federation.min_sites": "2",
    }


def test_rounds_and_steps_are_compared_as_the_studys_length() -> None:
    same = load_job(JOBS / "pretrain.yaml", ["federation.rounds=450", "federation.local_steps=1000"])
    assert [found.setting for found in deviations(same)] == ["federation.min_sites"]


def test_the_name_the_seed_and_the_other_tasks_settings_do_not_count() -> None:
    job = load_job(JOBS / "pretrain.yaml", ["name=mine", "seed=5", "augmentation.flip=0.9", "federation.min_sites=1"])
    assert deviations(job) == []


def test_those_of_the_paper_come_first() -> None:
    found = deviations(load_job(JOBS / "demo" / "finetune.yaml"))
    of_paper = [deviation.is_of_paper for deviation in found]
    assert of_paper == sorted(of_paper, reverse=True)


def test_a_mapping_shows_its_values() -> None:
    job = load_job(JOBS / "finetune_btcv.yaml", ["segmentation.nsd_tolerance={liver: 3.0, left_kidney: 1.5}"])
    found = {deviation.setting: (deviation.value, deviation.usual) for deviation in deviations(job)}
    assert found["segmentation.nsd_tolerance"] == ("liver: 3, left kidney: 1.5", "none")


def test_classes_that_differ_in_their_label_values_look_different() -> None:
    job = load_job(JOBS / "finetune_btcv.yaml", ["segmentation.classes={spleen: 6, kidneys: [2, 3], liver: 1}"])
    [classes] = [found for found in deviations(job) if found.setting == "segmentation.classes"]
    assert classes.value == "spleen: 6, kidneys: 2 + 3, liver: 1"
    assert classes.usual.startswith("spleen: 1, right kidney: 2, left kidney: 3, ")
