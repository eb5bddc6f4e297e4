"""What each site does in the round that is under way: ``status.json`` of a run folder."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from fedswin.durable import write_text_whole

STATUS = "status.json"

Doing = Literal["preparing", "training", "scoring", "waiting", "sent", "late", "refused", "gone"]
"""What a site does:

- ``preparing``: it reads its cases, before the first round.
- ``training``: it scores the global model and trains it.
- ``scoring``: it only scores the global model, since it does not train in this round.
- ``waiting``: its answer was taken, and the round waits for other sites.
- ``sent``: its answer was taken, and the round is over.
- ``late``: an earlier round was over before its answer came, and it has not answered since.
- ``refused``: it answered, and its update was not taken.
- ``gone``: it gives no sign of life, its process has ended, or it has asked to be left out.
"""


@dataclass(frozen=True)
class Status:
    """The round that is under way, or the last one. Times are seconds since 1970, by the server's clock.

    Attributes:
        round: the number of the global model that the sites were sent.
        sites: what each of them does.
        since: when each of them began to do so.
        round_seconds: how long the rounds have taken that the server's process has run, on average.
        started: when the server's process began with the study.
        began: when the round did; ``None`` before the first.
    """

    round: int = 0
    sites: Mapping[str, Doing] = field(default_factory=dict)
    since: Mapping[str, float] = field(default_factory=dict)
    round_seconds: float | None = None
    started: float | None = None
    began: float | None = None


class StatusFile:
    """Keeps the status of a study on disk, for whoever watches.

    Args:
        run: the run folder.
        clock: the time of day; who watches has no other clock in common with the server.
    """

    def __init__(self, run: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = run / STATUS
        self._clock = clock
        self._began: list[float] = []  # when each round did
        self._asked: dict[str, Doing] = {}  # what each site that has not answered was asked to do
        self._status = Status()
        self._lock = threading.Lock()  # answers come on a thread of their own

    def prepare(self, number: int, sites: Collection[str]) -> None:
        """The sites get ready for the first round, ``number``."""
        with self._lock:
            self._asked = dict.fromkeys(sites, "preparing")
            self._write(Status(number, self._asked, started=self._clock()))

    def begin(self, number: int, asked: Mapping[str, Doing]) -> None:
        """Round ``number`` begins; a site that still owes the answer of an earlier one is late."""
        with self._lock:
            self._began.append(self._clock())
            rounds = len(self._began) - 1
            seconds = max(0.0, self._began[-1] - self._began[0]) / rounds if rounds else None
            before = self._status.sites
            self._asked = {site: "late" if before.get(site) in ("late", "gone") else how for site, how in asked.items()}
            gone: dict[str, Doing] = {site: "gone" for site, how in before.items() if how == "gone"}
            sites = dict(sorted({**self._asked, **gone}.items()))
            self._write(replace(self._status, round=number, sites=sites, round_seconds=seconds, began=self._began[-1]))

    def answered(self, site: str, how: Doing) -> None:
        """A site has answered."""
        with self._lock:
            self._asked.pop(site, None)
            self._write(replace(self._status, sites={**self._status.sites, site: how}))

    def silent(self, sites: Collection[str]) -> None:
        """These sites have given no sign of life for a while, and no others."""
        with self._lock:
            now: dict[str, Doing] = {site: "gone" if site in sites else doing for site, doing in self._asked.items()}
            status = replace(self._status, sites={**self._status.sites, **now})
            if status != self._status:
                self._write(status)

    def end_round(self) -> None:
        """The round is over; whoever has not answered, and lives, will be late."""
        with self._lock:
            self._asked = dict.fromkeys(self._asked, "late")
            over: dict[Doing, Doing] = {"waiting": "sent", "preparing": "late", "training": "late", "scoring": "late"}
            self._write(
                replace(self._status, sites={site: over.get(how, how) for site, how in self._status.sites.items()})
            )

    def _write(self, status: Status) -> None:
        now = self._clock()
        before = self._status
        since = {
            site: before.since[site] if before.sites.get(site) == how and site in before.since else now
            for site, how in status.sites.items()
        }
        self._status = replace(status, since=since)
        write_text_whole(self._path, json.dumps(asdict(self._status)))


def parse_status(content: Mapping[str, Any]) -> Status:
    """Return the status that ``content`` describes; what another version writes beside it is left out."""
    known = {entry.name for entry in fields(Status)}
    return Status(**{name: value for name, value in content.items() if name in known})


def read_status(run: Path) -> Status | None:
    """Return what the sites of the study in ``run`` do, or did last; ``None`` if it has not begun."""
    path = run / STATUS
    return parse_status(json.loads(path.read_text())) if path.exists() else None
