"""From one state of a consortium to the next: what may change without making everybody's kit again."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fedswin.errors import FedSwinError
from fedswin.kits.consortium import Consortium

_OVERWRITE = "With --overwrite all kits are made again, with a new authority, and must be handed over again"
_IN_FORCE = "stays valid until it ends"


def require_growth(old: Consortium, new: Consortium, renewed: Collection[str]) -> None:
    """Make sure that the kits which were made for ``old`` are right for ``new``, those in ``renewed`` apart.

    Raises:
        FedSwinError: if somebody is gone or is somebody else now; it lists all of it, one a line.
    """
    if problems := [*_other_federation(old, new), *_gone(old, new), *_other_identity(old, new, renewed)]:
        lines = "".join(f"\n- {problem}." for problem in problems)
        raise FedSwinError(f"The consortium does not fit the kits that were made for it.{lines}")


def _other_federation(old: Consortium, new: Consortium) -> Iterator[str]:
    if new.study != old.study:
        change = f"it was '{old.study}' and is '{new.study}'"
        yield f"study: {change}. Another study has kits of its own: choose another --out"
    if new.server != old.server:
        was, now = (f"{server.host}:{server.port} of {server.organization}" for server in (old.server, new.server))
        yield f"server: it was {was} and is {now}, and every kit says where the server is. {_OVERWRITE}"
    if new.code_in_jobs != old.code_in_jobs:
        yield f"code_in_jobs: every kit says who may send code with a job. Put it back. {_OVERWRITE}"


def _gone(old: Consortium, new: Consortium) -> Iterator[str]:
    for name in sorted(set(_identities(old)) - set(_identities(new))):
        yield (
            f"{name} is gone, but its certificate {_IN_FORCE}. Keep it in the file and bar it at the server: see"
            f" 'Somebody leaves' in provisioning/README.md. {_OVERWRITE}"
        )


def _other_identity(old: Consortium, new: Consortium, renewed: Collection[str]) -> Iterator[str]:
    before, after = _identities(old), _identities(new)
    for name in before:
        if name in after and before[name] != after[name] and name not in renewed:
            yield (
                f"{name}: it was {before[name]} and is {after[name]}. Its certificate says so: put it back, or add"
                f" --renew {name} for a new one; the old one {_IN_FORCE}"
            )


def _identities(plan: Consortium) -> dict[str, str]:
    """What the certificate of each site and person says beside the name."""
    sites = {site.name: f"a site of {site.organization}" for site in plan.sites}
    return {**sites, **{person.email: f"{person.role} of {person.organization}" for person in plan.people}}
