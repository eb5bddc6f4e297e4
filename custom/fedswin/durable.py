"""Files that stay whole when their writer dies or the disk is full: replaced at once, or grown by whole lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Give a new file that takes the place of ``path`` when the block ends well, and goes if it does not.

    Whoever reads ``path`` finds the old content or the new, never a part. There may be one writer at a time.

    Raises:
        OSError: if it cannot be written, and then the old file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name without its content
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, as `written_whole` does.

    Raises:
        OSError: if it cannot be written, and then the old file is still there.
    """
    with written_whole(path) as file:
        file.write(text.encode())


def append_line(path: Path, line: str) -> None:
    """Append ``line``, which holds no line break, to ``path`` with one write, and wait until it is on the disk.

    A writer that is killed meanwhile may leave a torn last line.

    Raises:
        OSError: if it cannot be written, and then the file is as it was.
    """
    left = memoryview(f"{line}\n".encode())
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while left:  # a full disk takes a part of the line first, and only refuses what is left of it
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)  # or the next line would be glued to this one
            raise
