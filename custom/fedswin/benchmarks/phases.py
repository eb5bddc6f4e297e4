"""How long sites were busy with what: read from their journals while they write them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from fedswin.training.journal import last_entry

_POLL_SECONDS = 0.05


class Phases:
    """Watches journals while a block runs.

    Args:
        journals: the folder that each site's journal appears in.

    Attributes:
        before: seconds until the first of the sites has made its first step.
        whole: seconds of the block.
    """

    def __init__(self, journals: Sequence[Path]) -> None:
        self._journals = journals
        self._busy: dict[str, float] = defaultdict(float)  # seconds of all sites by phase, since the first step
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="phases", daemon=True)
        self.before = self.whole = 0.0

    def __enter__(self) -> Phases:
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.whole = time.perf_counter() - self._started
        self._over.set()
        self._thread.join()

    @property
    def after(self) -> float:
        """Seconds from the first step to the end."""
        return self.whole - self.before

    def of(self, phase: str) -> float:
        """Return for how long a site was in ``phase``, from the first step on, on average over the sites."""
        return self._busy[phase] / len(self._journals)

    def _watch(self) -> None:
        before = self._started
        while not self._over.wait(_POLL_SECONDS):
            now, entries = time.perf_counter(), [last_entry(folder) or {} for folder in self._journals]
            if not self.before and any(entry.get("step") for entry in entries):
                self.before = now - self._started
            if self.before:
                for entry in entries:
                    self._busy[entry.get("phase", "starting")] += now - before
            before = now
