"""The one exception that FedSwin shows to a person."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FedSwinError(Exception):
    """Something the user can put right.

    The message says what was found, where (file, site or key), and what to do. The command line
    prints it without a traceback and exits with 1.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
