"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_ct() -> Path:
    """The folder of real CT that lies beside the repository; without it the test is skipped."""
    folder = (Path(__file__).parents[2] / "shared" / "real_ct").resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it holds the real CT that this test reads")
    return folder
