"""Which code runs: its version, the SHA-256 of its source, and the commit if it lies in a git checkout of its own."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import fedswin

_PACKAGE = Path(fedswin.__file__).parent


@cache
def code_version() -> dict[str, str | None]:
    """Return ``version``, ``sha256`` and ``commit`` of the running fedswin.

    The SHA-256 is over the path and the bytes of every file of the package, in the order of the paths, so it is the
    same for an installed package and for one that a job ships. ``commit`` ends with ``-dirty`` if the package differs
    from it, and is ``None`` where git does not track the package.
    """
    return {"version": fedswin.__version__, "sha256": _source_digest(), "commit": _commit()}


def _source_digest() -> str:
    sha = hashlib.sha256()
    files = (path for path in _PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    for path in sorted(files):
        content = path.read_bytes()
        sha.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(content)}\n".encode())
        sha.update(content)
    return sha.hexdigest()


def _commit() -> str | None:
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    return f"{commit}-dirty" if changes else commit


def _git(*arguments: str) -> str | None:
    """Return what git prints, or ``None`` if it is not there or says no."""
    command = ["git", "-C", str(_PACKAGE), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
