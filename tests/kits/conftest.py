"""Kits of the example as provisioning makes them, once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedswin.kits.provision import provision

EXAMPLE = Path(__file__).resolve().parents[2] / "provisioning" / "example.yaml"


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, for tests that change none."""
    out = tmp_path_factory.mktemp("example") / "kits"
    provision(EXAMPLE, out)
    return out
