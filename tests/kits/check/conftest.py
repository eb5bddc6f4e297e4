"""Copies of kits, for tests that plant a fault in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def site(kits: Path, tmp_path: Path) -> Path:
    """A site's kit that a test may change."""
    return Path(shutil.copytree(kits / "hospital_a", tmp_path / "hospital_a"))


@pytest.fixture
def server(kits: Path, tmp_path: Path) -> Path:
    """The server's kit, which a test may change."""
    return Path(shutil.copytree(kits / "server", tmp_path / "server"))
