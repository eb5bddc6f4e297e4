"""What every check is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedswin.config import Job
from fedswin.kits.kit import Kit


@dataclass(frozen=True)
class Context:
    """The kit, and what its owner said on the command line.

    Attributes:
        kit: the kit.
        authority: the fingerprint of the authority as the study lead said it.
        job: the job that the data must fit.
        workers: how many cases are read at the same time.
        progress: called with a line of text while cases are read.
    """

    kit: Kit
    authority: str | None = None
    job: Job | None = None
    workers: int = 1
    progress: Callable[[str], None] = lambda _: None
