"""The SHA-256 of a file, and a list of those of a folder, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

SUMS = "SHA256SUMS"
"""The list, in the folder whose files it lists."""

_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the bytes of ``path`` in hexadecimal, without holding them in memory at once."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class Copies:
    """Finds files of the same content: only those of the same size are read.

    Args:
        paths: the files among which copies are sought; a link stands for the file that it leads to.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._digest = cache(file_sha256)
        self._by_size: defaultdict[int, list[Path]] = defaultdict(list)
        for path in paths:
            self._by_size[path.stat().st_size].append(path)

    def of(self, path: Path) -> list[Path]:
        """Return those whose bytes are the same as those of ``path``."""
        rivals = self._by_size[path.stat().st_size]
        return [rival for rival in rivals if self._digest(rival.resolve()) == self._digest(path.resolve())]


def write_sums(folder: Path) -> None:
    """List all files in ``folder`` with their checksums."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    (folder / SUMS).write_text("".join(f"{file_sha256(path)}  {path.relative_to(folder)}\n" for path in files))


def differing(folder: Path) -> list[str]:
    """Return the files of the list in ``folder`` that are missing or not as listed."""
    lines = (folder / SUMS).read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    return [
        name for name, digest in listed.items() if not (folder / name).is_file() or file_sha256(folder / name) != digest
    ]
