"""When a round is over: everybody answered, or enough did and the grace ran out, or the deadline passed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from fedswin.config import FederationSettings

Clock = Callable[[], float]
"""Seconds that never go backwards, as ``time.monotonic`` counts them."""


class Round:
    """Who was asked in a round, and who has answered.

    Args:
        asked: the sites.
        settings: quorum, grace and deadline.
        clock: the seconds; not the time of day, which an administrator or a time server may set back.

    Attributes:
        good: how many good answers have come.
    """

    def __init__(self, asked: Collection[str], settings: FederationSettings, clock: Clock = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._waiting = set(asked)
        self._answered: dict[str, float] = {}
        self.good = 0
        self._deadline = clock() + settings.round_timeout
        self._quorum_since: float | None = None

    @property
    def missing(self) -> list[str]:
        """The sites that have not answered."""
        return sorted(self._waiting)

    @property
    def has_quorum(self) -> bool:
        """Whether ``min_sites`` have given a good answer."""
        return self._quorum_since is not None

    def note(self, site: str, *, good: bool) -> None:
        """Take note of an answer; a good one, such as an accepted update, counts for the quorum."""
        self._waiting.discard(site)
        self._answered[site] = self._clock()
        self.good += good
        if self._quorum_since is None and self.good >= self._settings.min_sites:
            self._quorum_since = self._clock()

    def waited(self) -> dict[str, float]:
        """Return for how many seconds each site that has answered has waited for the others since."""
        now = self._clock()
        return {site: now - since for site, since in self._answered.items()}

    def is_over(self, silent: Collection[str]) -> bool:
        """Tell whether the round is over.

        Args:
            silent: sites without a sign of life; once there is a quorum they are not waited for.
        """
        now = self._clock()
        if not self._waiting or now >= self._deadline:
            return True
        if self._quorum_since is None:
            return False
        grace = self._settings.grace_after_quorum
        return self._waiting <= set(silent) or (grace is not None and now - self._quorum_since >= grace)
