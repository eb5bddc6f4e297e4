"""How the server's side of a study talks to the sites; the controller does it over NVFlare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedswin.federation.encoding import Tensors
from fedswin.federation.exchange import Download


@dataclass(frozen=True)
class Question:
    """What sites are asked to do.

    Attributes:
        sites: who is asked.
        task: one of the task names in `fedswin.federation.messages`.
        round: the number of the global model.
        download: the global model as the exchange encodes it; ``None`` to prepare.
        refused: why the last update of these sites was not taken, if it was not.
    """

    sites: Sequence[str]
    task: str
    round: int = 0
    download: Download | None = None
    refused: str = ""


@dataclass(frozen=True)
class Answer:
    """What a site says.

    Attributes:
        site: its name.
        read: returns the update as the exchange encodes it; until then it may lie on disk.
        metrics: the site's scores of the global model it was sent.
        report: plain values, such as ``cases``, ``steps`` and the means of the losses.
        previous: the round in which the site last sent an update; it may have come too late.
        error: the kind of what went wrong at the site, if something did.
        leaves: the site asks to be left out from now on.
    """

    site: str
    read: Callable[[], Tensors] = dict
    metrics: Mapping[str, float] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    previous: int = -1
    error: str = ""
    leaves: bool = False


class StudyAbortedError(Exception):
    """The job was aborted while the sites were at work."""


class Sites(Protocol):
    """The sites of a study."""

    def connected(self) -> list[str]:
        """Return the names of the sites that the job runs at, sorted."""
        ...

    def silent(self) -> Collection[str]:
        """Return the sites that have given no sign of life for a while."""
        ...

    def ask(
        self, questions: Sequence[Question], receive: Callable[[Answer], None], is_over: Callable[[], bool]
    ) -> None:
        """Ask the sites, hand on their answers one at a time, and return when ``is_over`` says so.

        An answer that comes later is dropped.

        Raises:
            StudyAbortedError: if the job is aborted meanwhile.
        """
        ...
