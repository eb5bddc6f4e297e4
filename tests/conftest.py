"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.summary.writer import event_file_writer


@pytest.fixture(scope="session")
def real_ct() -> Path:
    """The folder of real CT that lies beside the repository; without it the test is skipped."""
    folder = (Path(__file__).parents[2] / "shared" / "real_ct").resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it holds the real CT that this test reads")
    return folder


@pytest.fixture(scope="session", autouse=True)
def event_files_in_order() -> None:
    """Give the numbers of event files as many digits: those of one second are read in the order of their names."""
    event_file_writer._global_uid = event_file_writer.AtomicCounter(10**6)
