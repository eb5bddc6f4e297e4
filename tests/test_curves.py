"""The curves of a study: everything that a record says is drawn, once, where the study's steps are."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from end_to_end import tiny
from fedswin.curves import TENSORBOARD, Curves

JOB = tiny.job({**tiny.FINETUNE, "federation": {"rounds": 2, "local_steps": 5}})
SITE = {
    "metrics": {"dice": 0.5},
    "validation_cases": 2,
    "train": {"loss": 1.0},
    "weight": 4,
    "cases": 4,
    "seconds": 8.0,
    "waiting": 2.0,
    "bytes_up": 3_000_000,
    "bytes_down": 5_000_000,
    "memory": 7_000_000,
    "norm": 0.25,
    "cosine": 0.75,
}
RECORD = {
    "round": 1,
    "status": "ok",
    "global": {"dice": 0.5, "dice_lump": 0.5},
    "pooled": {"dice": 0.625},
    "sites": {"a": SITE, "b": {"metrics": {"dice": 0.25}, "validation_cases": 1}},
    "refused": [{"site": "b", "reason": "not finite"}],
    "late": [],
    "missing": ["c"],
}


def drawn(run: Path, name: str) -> EventAccumulator:
    return EventAccumulator(str(run / TENSORBOARD / name)).Reload()


def points(run: Path, name: str) -> dict[str, list[tuple[int, float]]]:
    found = drawn(run, name)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_a_record_is_drawn_at_the_step_of_its_model(tmp_path: Path) -> None:
    curves = Curves(tmp_path, JOB)
    curves.draw(RECORD)
    curves.close()
    assert points(tmp_path, "global") == {
        "validation/dice": [(5, 0.5)],
        "validation/dice_lump": [(5, 0.5)],
        "validation_pooled/dice": [(5, 0.625)],
        "round/updates": [(5, 1.0)],
        "round/refused": [(5, 1.0)],
        "round/late": [(5, 0.0)],
        "round/missing": [(5, 1.0)],
    }
    assert points(tmp_path, "a") == {
        "validation/dice": [(5, 0.5)],
        "round/refused": [(5, 0.0)],
        "round/seconds_training": [(5, 8.0)],
        "round/seconds_waiting": [(5, 2.0)],
        "round/megabytes_up": [(5, 3.0)],
        "round/megabytes_down": [(5, 5.0)],
        "round/memory_megabytes": [(5, 7.0)],
        "round/update_norm": [(5, 0.25)],
        "round/cosine_to_global_step": [(5, 0.75)],
    }
    assert points(tmp_path, "b") == {"validation/dice": [(5, 0.25)], "round/refused": [(5, 1.0)]}


def test_a_resumed_study_draws_on_and_nothing_twice(tmp_path: Path) -> None:
    first = Curves(tmp_path, JOB)
    for number in range(3):
        first.draw({**RECORD, "round": number})
        first.add("a", "train/loss", 1.0, 5 * number + 4)
    first.close()
    second = Curves(tmp_path, JOB, first_round=2)
    second.draw({**RECORD, "round": 2, "global": {"dice": 0.75}})
    second.add("a", "train/loss", 0.5, 14)
    second.close()
    assert points(tmp_path, "global")["validation/dice"] == [(0, 0.5), (5, 0.5), (10, 0.75)]
    assert points(tmp_path, "a")["train/loss"] == [(4, 1.0), (9, 1.0), (14, 0.5)]


def test_the_job_is_there_as_text_and_as_hyperparameters(tmp_path: Path) -> None:
    Curves(tmp_path, JOB).close()
    found = drawn(tmp_path, "global")
    [text] = found.Tensors("job/text_summary")
    assert JOB.to_yaml() in text.tensor_proto.string_val[0].decode()
    summary = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(summary).session_start_info.hparams
    assert settings["trainer.learning_rate"].number_value == JOB.trainer.learning_rate
    assert settings["data.roi"].string_value == "[64, 32, 32]"
    assert not [name for name in settings if name.startswith("pretraining")]
    assert len(list((tmp_path / TENSORBOARD / "global").iterdir())) == 1  # TensorBoard reads one file at a time


def test_a_value_that_is_not_known_leaves_a_gap(tmp_path: Path) -> None:
    curves = Curves(tmp_path, JOB)
    curves.draw({**RECORD, "sites": {"a": {**SITE, "cosine": None, "metrics": {"dice": None}}}, "global": {}})
    curves.close()
    assert "round/cosine_to_global_step" not in points(tmp_path, "a")
    assert "validation/dice" not in points(tmp_path, "a")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_costs_the_points_of_its_time_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(writer: RecordWriter, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    curves = Curves(tmp_path, JOB)
    curves.draw({**RECORD, "round": 0})
    with monkeypatch.context() as full, caplog.at_level(logging.WARNING):
        full.setattr(RecordWriter, "write", refuse)
        curves.draw(RECORD)
        curves.draw(RECORD)
    curves.draw({**RECORD, "round": 2})
    curves.close()
    assert [step for step, _ in points(tmp_path, "global")["validation/dice"]] == [0, 10]
    assert caplog.text.count("the curves cannot be written ([Errno 28] No space left on device)") == 1


def test_a_site_may_have_values_of_its_training_steps_drawn_and_nothing_else(tmp_path: Path) -> None:
    curves = Curves(tmp_path, JOB)
    assert curves.allows("train/loss", 9)
    assert curves.allows("train/memory_megabytes", 0)
    for tag in ("patient Mueller, born 1950", "validation/dice", "round/update_norm", "train/inpainting"):
        assert not curves.allows(tag, 1)
    for step in (None, -1, 10, 2**70):
        assert not curves.allows("train/loss", step)
