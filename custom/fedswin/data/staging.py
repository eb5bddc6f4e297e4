"""A folder of site folders appears when it is complete, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedswin.data.datalist import DATALIST
from fedswin.errors import FedSwinError


def refuse_sites_output(out: Path, *, overwrite: bool) -> None:
    """Make sure that site folders may be written to ``out``.

    Raises:
        FedSwinError: if it exists and ``overwrite`` is false, or it holds anything but site folders.
    """
    if os.path.lexists(out) and not overwrite:
        raise FedSwinError(f"{out} exists. Choose another folder, or add --overwrite to replace it.")
    if out.is_file() or (out.is_dir() and not all((entry / DATALIST).is_file() for entry in out.iterdir())):
        raise FedSwinError(f"{out} holds more than site folders, so it is not replaced. Choose another folder.")


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that takes its place when the block ends well, and goes if it does not.

    Raises:
        FedSwinError: if nothing can be written beside ``out``.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        room = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise FedSwinError(f"{out.parent}: cannot write there ({error.strerror}). Choose another folder.") from None
    with room:
        staging = Path(room.name) / "new"  # not the room itself, which only its owner may enter
        staging.mkdir()
        yield staging
        if os.path.lexists(out):
            out.rename(Path(room.name) / "old")
        staging.rename(out)
