"""Find the files of an archive: links are followed but never in circles, and nothing that is hidden is opened."""

from __future__ import annotations

import os
from pathlib import Path

from fedswin.data.convert.source import LeftOut


def walk(root: Path) -> tuple[list[Path], list[LeftOut]]:
    """Return the files below ``root``, in an order that depends on their names alone.

    Hidden files and folders are passed over. A folder that two links lead to is entered once.

    Returns:
        The regular files; and what is left out: folders that cannot be opened, and what is no regular file.
    """
    files: list[Path] = []
    left_out: list[LeftOut] = []
    entered = {_identity(root)}

    def refuse(error: OSError) -> None:
        fix = "Give yourself the right to read it."
        left_out.append(LeftOut((Path(error.filename),), "a folder that cannot be opened", fix))

    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        subfolders[:] = [name for name in sorted(subfolders) if _enters(Path(folder, name), entered)]
        for path in (Path(folder, name) for name in sorted(names) if not name.startswith(".")):
            if path.is_file():
                files.append(path)
            else:  # to open a pipe is to wait for ever
                left_out.append(LeftOut((path,), "no regular file (a link that leads nowhere, a pipe or the like)"))
    return files, left_out


def _enters(folder: Path, entered: set[tuple[int, int]]) -> bool:
    identity = _identity(folder)
    is_new = not folder.name.startswith(".") and identity not in entered
    entered.add(identity)
    return is_new


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
