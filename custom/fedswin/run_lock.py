"""The lock of a run folder: one process writes it at a time, and whoever comes second is told who that is.

The kernel's lock on ``RUN/lock.json`` is what counts: it goes with its holder, however that dies. What the file says is
for messages alone. It stays when the run ends, since another process may be about to lock it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import psutil

from fedswin.errors import FedSwinError

LOCK = "lock.json"
_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_AFTER = "use --resume"


@contextmanager
def lock_run(folder: Path, patience: float = _PATIENCE_SECONDS, *, after: str = _AFTER) -> Iterator[TextIO]:
    """Keep other processes from writing the run at ``folder`` while the block runs.

    Args:
        folder: the run folder; made if it is not there.
        patience: seconds to wait for what a writer has started and left behind when it died.
        after: what to do once the other process has ended, for messages.

    Yields:
        The locked file. A child process that gets its ``fileno()`` (``pass_fds`` of `subprocess.Popen`) holds the lock,
        too, until it ends.

    Raises:
        FedSwinError: if another process writes the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _take(folder / LOCK, patience, after) as file:
        started = datetime.fromtimestamp(psutil.Process().create_time()).astimezone()
        file.truncate(0)
        json.dump({"pid": os.getpid(), "started": started.isoformat(timespec="seconds")}, file)
        file.flush()
        yield file


@contextmanager
def lock_runs(folder: Path) -> Iterator[None]:
    """Hold the locks of all runs at and below ``folder``, so that none of them is being written.

    Raises:
        FedSwinError: if a process writes one of them.
    """
    with ExitStack() as held:
        for path in sorted(folder.glob(f"**/{LOCK}")):
            held.enter_context(_take(path, _PATIENCE_SECONDS))
        yield


def is_locked(folder: Path) -> bool:
    """Tell whether a process writes the run at ``folder``."""
    path = folder / LOCK
    if not path.exists():
        return False
    with path.open("a+") as file:
        return not _lock(file)


def locked_since(folder: Path) -> float | None:
    """Return when the process started that writes the run at ``folder``, or wrote it last: seconds since 1970."""
    holder = _read(folder / LOCK)
    return datetime.fromisoformat(holder["started"]).timestamp() if holder else None


def _take(path: Path, patience: float, after: str = _AFTER) -> TextIO:
    """Return the file at ``path``, locked until it is closed, here and in every process that has inherited it."""
    deadline = time.monotonic() + patience
    while True:
        file = path.open("a+")
        if _lock(file) and _is_at(file, path):
            return file
        file.close()
        _refuse_holder(path, after, patient=time.monotonic() < deadline)
        time.sleep(_POLL_SECONDS)


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: TextIO, path: Path) -> bool:
    """Tell whether ``file`` is still the one at ``path``: a run may have been deleted, with its lock, since."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def _refuse_holder(path: Path, after: str, *, patient: bool) -> None:
    holder = _read(path)
    if holder and _lives(holder["pid"]):
        writer = f"process {holder['pid']}, which started at {holder['started']}"
    elif patient:
        return
    else:
        writer = f"a process that an earlier run has left behind, and that 'fuser {path}' names"
    raise FedSwinError(f"{path.parent} is being written by {writer}. Wait for it, or end it and {after}.")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # deleted with its run, or not yet written
        return None


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
