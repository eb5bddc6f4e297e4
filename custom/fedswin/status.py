"""What each site does in the round that is under way: ``status.json`` of a run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from fedswin.durable import written_whole

STATUS = "status.json"

Doing = Literal["preparing", "training", "scoring", "sent", "refused", "silent"]
"""``sent`` is an answer that was taken; ``silent`` is a site without a sign of life that has not answered."""


@dataclass(frozen=True)
class Status:
    """The round that is under way, or the last one.

    Attributes:
        round: the number of the global model that the sites were sent.
        sites: what each of them does.
        round_seconds: how long the rounds have taken that the server's process has run, on average.
    """

    round: int = 0
    sites: Mapping[str, Doing] = field(default_factory=dict)
    round_seconds: float | None = None


class StatusFile:
    """Keeps the status of a study on disk, for whoever watches.

    Args:
        run: the run folder.
        clock: monotonic seconds.
    """

    def __init__(self, run: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = run / STATUS
        self._clock = clock
        self._began: list[float] = []  # when each round did
        self._asked: dict[str, Doing] = {}  # what each site that has not answered was asked to do
        self._status = Status()

    def prepare(self, number: int, sites: Collection[str]) -> None:
        """The sites get ready for the first round, ``number``."""
        self._asked = dict.fromkeys(sites, "preparing")
        self._write(Status(number, self._asked))

    def begin(self, number: int, asked: Mapping[str, Doing]) -> None:
        """Round ``number`` begins."""
        self._began.append(self._clock())
        rounds = len(self._began) - 1
        seconds = (self._began[-1] - self._began[0]) / rounds if rounds else None
        self._asked = dict(asked)
        self._write(Status(number, self._asked, seconds))

    def answered(self, site: str, how: Doing) -> None:
        """A site has answered."""
        self._asked.pop(site, None)
        self._write(replace(self._status, sites={**self._status.sites, site: how}))

    def silent(self, sites: Collection[str]) -> None:
        """These sites have given no sign of life for a while, and no others."""
        now: dict[str, Doing] = {site: "silent" if site in sites else doing for site, doing in self._asked.items()}
        status = replace(self._status, sites={**self._status.sites, **now})
        if status != self._status:
            self._write(status)

    def _write(self, status: Status) -> None:
        self._status = status
        with written_whole(self._path) as file:
            file.write(json.dumps(asdict(status)).encode())


def read_status(run: Path) -> Status | None:
    """Return what the sites of the study in ``run`` do, or did last; ``None`` if it has not begun."""
    path = run / STATUS
    return Status(**json.loads(path.read_text())) if path.exists() else None
