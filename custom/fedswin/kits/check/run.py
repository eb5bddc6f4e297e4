"""How checks are run; and those that can stop a start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fedswin.errors import FedSwinError
from fedswin.kits.check.certificates import check_clock, check_dates, check_issuer
from fedswin.kits.check.context import Context
from fedswin.kits.check.permissions import check_key, check_writable
from fedswin.kits.check.policy import check_environment, check_policy
from fedswin.kits.check.result import Result
from fedswin.kits.check.startup import check_place, check_unaltered

Check = tuple[str, Callable[[Context], Iterator[Result]]]
"""What a check is about, for when it cannot say so itself; and the check."""

SERVER_START: tuple[Check, ...] = (
    ("place", check_place),
    ("manifest", check_unaltered),
    ("key", check_key),
    ("certificate", check_issuer),
    ("dates", check_dates),
    ("clock", check_clock),
    ("writing", check_writable),
    ("environment", check_environment),
)
"""What must be well before the server is started; the network is not among it, since it may come later."""

SITE_START: tuple[Check, ...] = (*SERVER_START, ("policy", check_policy))
"""What must be well before a site is started."""


def run_checks(checks: Sequence[Check], context: Context) -> Iterator[Result]:
    """Run ``checks`` one after the other; one that fails is an error among the results, and does not end the others."""
    for name, check in checks:
        try:
            yield from check(context)
        except FedSwinError as error:
            yield Result(name, "error", str(error))
        except Exception as error:
            found = f"the check itself failed: {type(error).__name__}: {error}"
            yield Result(name, "error", found, "Report it to the developers of FedSwin.")
