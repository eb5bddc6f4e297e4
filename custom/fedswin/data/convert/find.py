"""Find everything in an archive that can be converted, and say what cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedswin.data.convert.dicom_header import is_dicom
from fedswin.data.convert.dicom_series import find_series
from fedswin.data.convert.image_files import find_files
from fedswin.data.convert.source import LeftOut, Source
from fedswin.data.convert.walk import walk


def find_sources(root: Path, progress: Callable[[str], None]) -> tuple[list[Source], list[LeftOut]]:
    """Walk ``root`` and read the headers there; no voxel is read.

    Args:
        root: a folder.
        progress: called with a short text now and then.

    Returns:
        The volumes, in an order that depends on names and headers alone; and what is left out.
    """
    progress("looking for files")
    files, left_out = walk(root)
    dicom: list[Path] = []
    others: list[Path] = []
    for path in files:
        try:
            (dicom if is_dicom(path) else others).append(path)
        except OSError:
            fix = "Give yourself the right to read it, or copy it again."
            left_out.append(LeftOut((path,), "a file that cannot be opened", fix))
    series, no_series = find_series(dicom, lambda done: progress(f"header {done} of {len(dicom)}"))
    volumes, no_volumes = find_files(others)
    return series + volumes, left_out + no_series + no_volumes
