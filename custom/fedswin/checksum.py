"""The SHA-256 of a file, and a list of those of a folder, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
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
