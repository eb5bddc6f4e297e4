"""A disk that fills up in the middle of a file, without filling one up."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import pytest


class _FillsUp:
    """A file that takes half of what is written to it, and then refuses."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def writelines(self, lines: Iterable[bytes]) -> None:
        self.write(b"".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _FillsUp:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def fill_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make every write to a file called ``name`` fail half way, until ``monkeypatch.undo()``."""
    really_open = Path.open

    def open_file(path: Path, *arguments: Any, **options: Any) -> Any:
        file = really_open(path, *arguments, **options)
        return _FillsUp(file) if path.name == name else file

    monkeypatch.setattr(Path, "open", open_file)
