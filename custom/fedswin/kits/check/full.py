"""All that `fedswin site check` looks at, in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.kits.check.context import Context
from fedswin.kits.check.data import check_data
from fedswin.kits.check.machine import check_disk, check_gpus
from fedswin.kits.check.network import check_network
from fedswin.kits.check.result import Result
from fedswin.kits.check.rules import check_rules
from fedswin.kits.check.run import SERVER_START, SITE_START, Check, run_checks
from fedswin.kits.check.software import check_packages, check_python
from fedswin.kits.environment import applied, read_environment
from fedswin.kits.kit import Kit, read_kit

_BOTH: tuple[Check, ...] = (
    ("rules", check_rules),
    ("Python", check_python),
    ("packages", check_packages),
    ("disk", check_disk),
)
_SERVER: tuple[Check, ...] = (*SERVER_START, *_BOTH)
_SITE: tuple[Check, ...] = (*SITE_START, *_BOTH, ("GPUs", check_gpus), ("data", check_data))
_NETWORK: tuple[Check, ...] = (("network", check_network),)


def check_kit(
    folder: Path,
    *,
    authority: str | None = None,
    job: Job | None = None,
    offline: bool = False,
    workers: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Result]:
    """Check a kit of a site or of the server, as its process would find it, with its own environment variables.

    Args:
        folder: the kit.
        authority: the fingerprint of the authority as the study lead said it.
        job: a job that the data must fit.
        offline: leave the network alone.
        workers: how many cases are read at the same time.
        progress: called with a line of text while cases are read.
    """
    try:
        kit = read_kit(folder)
    except FedSwinError as error:
        yield Result("kit", "error", str(error))
        return
    what = f"the site {kit.name}" if kit.role == "site" else "the server"
    yield Result("kit", "ok", f"of {what}, for the server {kit.host}:{kit.port}")
    context = Context(kit, authority, job, workers, progress)
    with applied(_variables(kit)):
        if not offline:
            yield from run_checks(_NETWORK, context)
        yield from run_checks(_SITE if kit.role == "site" else _SERVER, context)
    if offline:
        yield Result("network", "not done", "as you asked; without --offline the server is looked for")


def _variables(kit: Kit) -> Mapping[str, str]:
    """Return the kit's environment variables; none if the file is wrong, which is a result of its own."""
    try:
        return read_environment(kit.local)
    except FedSwinError:
        return {}
