"""Pictures in a site's own TensorBoard run: their steps, a resumed study, and a disk that is full."""

from __future__ import annotations

import errno
import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from fedswin.training.pictures import PICTURES, PictureLog

PICTURE = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)


def drawn(folder: Path) -> list[tuple[int, np.ndarray]]:
    events = EventAccumulator(str(folder / PICTURES)).Reload()
    found = events.Images("pictures/view")
    return [(event.step, np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))) for event in found]


def test_a_picture_is_found_as_it_was_drawn_at_the_step_of_the_study(tmp_path: Path) -> None:
    log = PictureLog(tmp_path)
    for step in (0, 20):
        log.write(lambda: {"view": PICTURE}, step)
    [(first, picture), (second, _)] = drawn(tmp_path)
    assert (first, second) == (0, 20)
    assert np.array_equal(picture, PICTURE)


def test_a_resumed_study_draws_its_steps_anew(tmp_path: Path) -> None:
    log = PictureLog(tmp_path)
    for step in (0, 20, 40):
        log.write(lambda: {"view": PICTURE}, step)
    resumed = PictureLog(tmp_path)
    for step in (20, 40):
        resumed.write(lambda: {"view": 255 - PICTURE}, step)
    found = drawn(tmp_path)
    assert [step for step, _ in found] == [0, 20, 40]
    assert [int(picture[0, 0, 0]) == int(PICTURE[0, 0, 0]) for _, picture in found] == [True, False, False]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_training_outlives_a_full_disk_which_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(writer: RecordWriter, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = PictureLog(tmp_path)
    log.write(lambda: {"view": PICTURE}, 0)
    with monkeypatch.context() as full:
        full.setattr(RecordWriter, "write", refuse)
        for step in (20, 40):
            log.write(lambda: {"view": PICTURE}, step)
    log.write(lambda: {"view": PICTURE}, 60)
    assert [record.getMessage() for record in caplog.records if "cannot be drawn" in record.getMessage()] == [
        f"{tmp_path / PICTURES}: a picture cannot be drawn ([Errno 28] No space left on device). Training goes on."
    ]
    assert [step for step, _ in drawn(tmp_path)] == [0, 60]


def test_a_picture_that_cannot_be_made_costs_no_round(tmp_path: Path) -> None:
    log = PictureLog(tmp_path)
    log.write(lambda: {"view": np.zeros(3)[5]}, 0)
    log.write(lambda: {"view": PICTURE}, 20)
    assert [step for step, _ in drawn(tmp_path)] == [20]


def test_a_site_without_pictures_has_no_file_and_a_closed_log_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    log = PictureLog(tmp_path)
    log.write(dict, 0)
    assert not (tmp_path / PICTURES).exists()
    log.write(lambda: {"a": np.zeros((4, 4, 3), np.uint8)}, 0)
    assert threading.active_count() > before
    log.close()
    assert threading.active_count() == before
