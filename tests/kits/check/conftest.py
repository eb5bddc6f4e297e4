"""Kits as provisioning makes them, once for all tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fedswin.kits.provision import provision

EXAMPLE = Path(__file__).resolve().parents[3] / "provisioning" / "example.yaml"


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("check") / "kits"
    provision(EXAMPLE, out)
    return out


@pytest.fixture
def site(kits: Path, tmp_path: Path) -> Path:
    """A site's kit that a test may change."""
    return Path(shutil.copytree(kits / "hospital_a", tmp_path / "hospital_a"))


@pytest.fixture
def server(kits: Path, tmp_path: Path) -> Path:
    """The server's kit, which a test may change."""
    return Path(shutil.copytree(kits / "server", tmp_path / "server"))
