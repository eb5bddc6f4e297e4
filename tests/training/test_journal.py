"""The journal keeps a line a step, and what it cannot write ends nothing."""

from __future__ import annotations

import errno
import io
import logging
from pathlib import Path

import pytest

from fedswin.training.journal import Journal, last_entry


class FullDisk(io.StringIO):
    """A file that can be written as soon as ``is_full`` is false."""

    is_full = True

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_the_newest_line_is_what_was_written_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "site")
    assert last_entry(tmp_path / "site") is None
    journal.write("scoring", 1)
    journal.write("training", 1, step=2, of=3, loss=0.5)
    assert last_entry(tmp_path / "site") == {"phase": "training", "round": 1, "step": 2, "of": 3, "loss": 0.5}


def test_a_full_disk_is_logged_once_and_lines_are_written_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = FullDisk()
    monkeypatch.setattr(Path, "open", lambda *arguments, **options: file)
    journal = Journal(tmp_path)
    for step in range(3):
        journal.write("training", 0, step=step)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage()
        == f"{tmp_path}/journal.jsonl cannot be written (No space left on device). Training goes on."
    )
    file.is_full = False
    journal.write("waiting", 0)
    assert file.getvalue() == '{"phase": "waiting", "round": 0}\n'
    assert len(caplog.records) == 1
