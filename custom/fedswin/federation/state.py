"""State that outlives a process: written whole after each round, the last two kept, a damaged one left out."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fedswin.checksum import file_sha256
from fedswin.weights.file import save_whole

_KEPT = 2
_NAME = re.compile(r"(\d{6,})-([0-9a-f]{64})\.pt")

log = logging.getLogger(__name__)


class StateFolder:
    """Numbered states of a study, at its server or at one of its sites.

    Args:
        folder: where the files are; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, number: int, content: Mapping[str, Any]) -> None:
        """Write state ``number``, tensors and plain values; all but the last two go.

        Raises:
            OSError: if it cannot be written; the states before it stay.
        """
        pending = self._folder / "pending.pt"
        save_whole(pending, content)
        target = self._folder / f"{number:06d}-{file_sha256(pending)}.pt"
        os.replace(pending, target)
        outdated = [file.path for file in self._files() if file.number == number and file.path != target]
        outdated += [file.path for file in self._files() if file.number < number][_KEPT - 1 :]
        for path in outdated:
            path.unlink()

    def load(self, below: int | None = None) -> tuple[int, dict[str, Any]] | None:
        """Return the newest undamaged state with its number, or ``None`` if there is none.

        Args:
            below: take only states with a smaller number.
        """
        for file in self._files():
            if below is not None and file.number >= below:
                continue
            if file_sha256(file.path) == file.digest:
                return file.number, dict(torch.load(file.path, map_location="cpu", weights_only=True))
            log.warning("State %d is damaged, so the one before it is taken", file.number)
        return None

    def drop(self, number: int) -> None:
        """Delete state ``number``, if it is there."""
        for file in self._files():
            if file.number == number:
                file.path.unlink()

    def _files(self) -> list[_StateFile]:
        """Return the states on disk, the newest first."""
        found = [(_NAME.fullmatch(path.name), path) for path in self._folder.glob("*.pt")]
        files = [_StateFile(int(match[1]), match[2], path) for match, path in found if match]
        return sorted(files, reverse=True)


class _StateFile(NamedTuple):
    """A state on disk. Its name carries its SHA-256, since ``torch.load`` does not notice a changed bit."""

    number: int
    digest: str
    path: Path
