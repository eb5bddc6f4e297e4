"""Fixtures of the tests that run ``fedswin``."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cli.study import FINETUNE, PRETRAIN, Command
from end_to_end import tiny


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with the site folders ``the sites/{a,b}`` and two job files."""
    tiny.write_sites(tmp_path / "the sites", {"a": 2, "b": 1})
    for name, content in ((PRETRAIN, tiny.PRETRAIN), (FINETUNE, tiny.FINETUNE)):
        (tmp_path / name).write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.fixture
def fedswin(study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(study)
    return Command(monkeypatch, capsys)
