"""What a command writes: nothing is replaced unasked, and a folder appears when it is complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedswin.errors import FedSwinError


def refuse_output(out: Path, *, overwrite: bool, kind: str, is_kind: Callable[[Path], bool], price: str = "") -> None:
    """Make sure that a command may write to ``out``.

    Args:
        out: the file or folder to write.
        overwrite: allow that an earlier result is replaced.
        kind: what the command writes, for messages: "a run".
        is_kind: tells whether what is at ``out`` is such a thing; only then it may be replaced.
        price: what is lost by replacing it, for messages.

    Raises:
        FedSwinError: if it exists and ``overwrite`` is false, or it is something else.
    """
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise FedSwinError(f"{out} exists. Choose another name, or add --overwrite to replace it{price}.")
    if not is_kind(out):
        raise FedSwinError(f"{out} is something other than {kind}, so it is not replaced. Choose another name.")


def short_names(paths: Sequence[Path]) -> list[str]:
    """Name each path by what of it lies below the folder that all share."""
    absolute = [path.absolute() for path in paths]
    shared = Path(os.path.commonpath([path.parent for path in absolute]))
    return [path.relative_to(shared).as_posix() for path in absolute]


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that takes its place when the block ends well, and goes if it does not.

    Raises:
        FedSwinError: if nothing can be written beside ``out``.
    """
    with _room_beside(out) as room:
        staging = Path(room) / "new"  # not the room itself, which only its owner may enter
        staging.mkdir()
        yield staging
        put_in_place(staging, out)


@contextmanager
def staged_files(out: Path) -> Iterator[Path]:
    """Give a folder whose files move beside ``out`` when the block ends well, and go if it does not.

    So a file and what describes it appear together. Files of the same names are replaced.

    Raises:
        FedSwinError: if nothing can be written beside ``out``.
    """
    with _room_beside(out) as room:
        yield Path(room)
        for file in Path(room).iterdir():
            file.replace(out.with_name(file.name))


def _room_beside(out: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise FedSwinError(f"{out.parent}: cannot write there ({error.strerror}). Choose another folder.") from None


def put_in_place(folder: Path, out: Path) -> None:
    """Rename ``folder``, which lies on the same disk, to ``out``; what was there goes."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as room:
        if os.path.lexists(out):
            out.rename(Path(room) / "old")
        folder.rename(out)
