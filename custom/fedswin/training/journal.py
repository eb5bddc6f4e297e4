"""A site's own record of its training: one line of JSON a step, which progress displays follow."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"

log = logging.getLogger(__name__)


class Journal:
    """Appends lines to ``folder/journal.jsonl``, which never leaves the site.

    Every line has ``phase`` (``reading``, ``scoring``, ``training`` or ``waiting``) and ``round``; a line
    of training also has ``step``, ``of`` (the steps of the round) and the step's values; step 0 is the start of the
    round's training and has none.

    It is there for displays alone, so a line that cannot be written, such as on a full disk, is lost and training goes
    on; the first one is logged.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / JOURNAL
        self._file = self._path.open("a", buffering=1)
        self._complete = True

    def write(self, phase: str, round_number: int, **values: Any) -> None:
        """Append one line."""
        try:
            self._file.write(json.dumps({"phase": phase, "round": round_number, **values}) + "\n")
        except OSError as error:
            if self._complete:
                log.warning("%s cannot be written (%s). Training goes on.", self._path, error.strerror)
            self._complete = False


def last_entry(folder: Path) -> dict[str, Any] | None:
    """Return the newest whole line of a journal, or ``None`` if there is none yet."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            lines = file.read().split(b"\n")[:-1]
        return dict(json.loads(lines[-1]))
    except (OSError, IndexError, ValueError):
        return None
