"""Starts the other processes that train a site's model, and ends with them."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.multiprocessing.spawn import ProcessContext, start_processes

from fedswin.config import Job
from fedswin.process_watch import end_with_parent
from fedswin.training.distributed import ALONE, Ranks, joined
from fedswin.training.journal import Journal
from fedswin.training.site_trainer import SiteTrainer
from fedswin.training.trainer import pick_device

_ANSWER_SECONDS = 10.0
"""How long this process may still answer after another one has died. On a GPU it would wait for that one for ever."""

log = logging.getLogger(__name__)


@contextmanager
def followers(job: Job, size: int) -> Iterator[Ranks]:
    """Start ``size - 1`` processes that train along with this one, and end them when the block ends.

    They are children of this process in its process group, so what ends the group ends all of them; and each ends by
    itself if this one is gone. If one of them dies, this process ends too.

    Args:
        job: the job; its tasks are built in each process when process 0 has built its own.
        size: how many processes train.

    Yields:
        This process as number 0 of them.
    """
    if size == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="fedswin-") as folder:
        meeting = Path(folder, "meeting")
        started = start_processes(_follow, (job, size, meeting, os.getpid()), size - 1, join=False)
        ends = threading.Event()
        threading.Thread(target=_end_with, args=(started, ends), name="followers", daemon=True).start()
        try:
            with joined(0, size, meeting, device=pick_device(job)) as ranks:
                yield ranks
                ends.set()  # first, since the others end as soon as they are told
                if not ranks.is_broken:
                    ranks.tell(None)
        finally:
            ends.set()
            for process in started.processes:
                process.kill()


def _follow(index: int, job: Job, size: int, meeting: Path, leader: int) -> None:
    """Do what process 0 tells this one, until it says that this was all."""
    end_with_parent(leader)
    logging.basicConfig(level=logging.INFO, format=f"process {index + 1}: %(levelname)s: %(message)s")
    with joined(index + 1, size, meeting, device=pick_device(job)) as ranks:
        if site := ranks.tell():
            SiteTrainer(job, site, _Silence(), lambda *_: None, ranks).follow()


class _Silence(Journal):
    """The journal of a process that is not process 0, whose journal is the site's."""

    def __init__(self) -> None:
        """Open nothing."""

    def write(self, phase: str, round_number: int, **values: Any) -> None:
        """Write nothing."""


def _end_with(started: ProcessContext, ends: threading.Event) -> None:
    """End this process a little after one of the others has died, unless they were to end."""
    try:
        while not started.join():
            pass
    except Exception as error:
        if not ends.is_set():
            log.error("A process that trains along has died, so this one ends: %s", error)
            time.sleep(_ANSWER_SECONDS)
    if not ends.is_set():
        os._exit(1)
