"""What a server or a site keeps of its studies, so that they can be resumed, and how to delete it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedswin.config import load_job
from fedswin.errors import FedSwinError, nearest
from fedswin.run_folder import JOB
from fedswin.run_lock import lock_runs

_DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class KeptStudy:
    """A study's folder at a server or site.

    Attributes:
        id: the study's id.
        job: the name of its job.
        size: bytes on disk.
        idle_days: days since something was last written.
        folder: where it is.
    """

    id: str
    job: str
    size: int
    idle_days: float
    folder: Path


def list_studies(folder: Path) -> list[KeptStudy]:
    """Return the studies that are kept in ``folder``, the one used last first.

    Args:
        folder: the folder ``studies`` of a kit, or where ``FEDSWIN_STUDIES`` points.

    Raises:
        FedSwinError: if it does not exist.
    """
    if not folder.is_dir():
        raise FedSwinError(
            f"{folder} does not exist. Give a kit's folder 'studies', or what FEDSWIN_STUDIES names there."
        )
    studies = [_read(path) for path in folder.iterdir() if (path / JOB).exists()]
    return sorted(studies, key=lambda study: study.idle_days)


def delete_studies(folder: Path, ids: Sequence[str]) -> None:
    """Delete what is kept of studies; they cannot be resumed any more.

    Args:
        folder: as for `list_studies`.
        ids: the studies.

    Raises:
        FedSwinError: if one is not there or is under way, and then none is deleted.
    """
    kept = {study.id: study for study in list_studies(folder)}
    for name in ids:
        if name not in kept:
            raise FedSwinError(f"{folder} holds no study {name}{nearest(name, kept)}.")
    for name in ids:
        with lock_runs(kept[name].folder):
            shutil.rmtree(kept[name].folder)


def _read(folder: Path) -> KeptStudy:
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    idle = time.time() - max(file.st_mtime for file in files)
    job = load_job(folder / JOB).name
    return KeptStudy(folder.name, job, sum(file.st_size for file in files), idle / _DAY_SECONDS, folder)
