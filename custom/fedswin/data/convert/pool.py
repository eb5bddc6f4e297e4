"""Convert many volumes at once, each in a process that may die or take too long without harm to the others."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
from pebble import ProcessExpired, ProcessPool

from fedswin.data.convert.source import LeftOut, Source
from fedswin.data.convert.worker import Outcome, convert_source, prepare


def convert_all(
    sources: Sequence[Source],
    folder: Path,
    *,
    resample: bool,
    workers: int,
    timeout: float,
    progress: Callable[[str], None],
) -> list[Outcome]:
    """Convert volumes into ``folder`` and return what became of each, in their order.

    The workers share the memory that is free at the start.

    Args:
        sources: the volumes.
        folder: of the conversion.
        resample: see `fedswin.data.convert.dicom_volume.read_series`.
        workers: the number of processes.
        timeout: seconds that one volume may take.
        progress: called with a short text after each volume.

    Raises:
        FedSwinError: if a volume cannot be written; the others are stopped then.
    """
    pool = ProcessPool(
        max_workers=min(workers, len(sources)),
        initializer=prepare,
        initargs=(psutil.virtual_memory().available // workers,),
        context=multiprocessing.get_context("spawn"),
    )
    convert = partial(convert_source, folder=folder, resample=resample)
    with pool:
        try:
            with _ctrl_c_held_back():
                jobs = {pool.schedule(convert, (source,), timeout=timeout): source for source in sources}
            outcomes = {}
            for done, job in enumerate(as_completed(jobs), start=1):
                outcomes[job] = _outcome(job, jobs[job], timeout)
                progress(f"volume {done} of {len(sources)}")
        except BaseException:  # Ctrl-C, too: leaving the block would wait for all that is still to do
            pool.stop()
            raise
    return [outcomes[job] for job in jobs]


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Hold Ctrl-C back from what is started meanwhile: the pool's threads, and so its processes, for good.

    A terminal sends it to every process, and one that has just been started would answer with a traceback.
    """
    resource_tracker.ensure_running()  # whoever starts it lets Ctrl-C through again afterwards
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(job: Future[Outcome], source: Source, timeout: float) -> Outcome:
    try:
        return job.result()
    except concurrent.futures.TimeoutError:
        reason, fix = f"took longer than {timeout:g} s", "Give it longer with --timeout, or copy the files again."
    except ProcessExpired:
        reason, fix = "its reading ended the process that did it", "Copy or export the files again."
    return Outcome(None, (LeftOut(source.files, reason, fix),))
