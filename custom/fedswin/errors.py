"""The one exception that FedSwin shows to a person, and what turns a missing library into it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class FedSwinError(Exception):
    """Something the user can put right.

    The message says what was found, where (file, site or key), and what to do. The command line
    prints it without a traceback and exits with 1.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Turn a library that the imports of the block miss into an error that says how to install it.

    Args:
        extra: the extra of FedSwin that brings it.
        what: what needs it, as the beginning of a sentence.

    Raises:
        FedSwinError: if a module of the block is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        raise FedSwinError(f'{what} needs {library}: pip install "fedswin[{extra}]"') from None
