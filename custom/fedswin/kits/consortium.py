"""Who takes part in a federation: the file that `fedswin provision` reads."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fedswin.kits.authority import AUTHORITY_DAYS
from fedswin.settings import Section, parse_section, read_mapping
from fedswin.site_names import SITE_NAME, SITE_NAME_RULE, TAKEN

AUTHORITY = "authority"
"""The folder of the certificate authority, beside the kits."""
SUBMITTERS = ("lead", "project_admin")
"""The roles that may submit jobs."""
SERVER = "server"
"""The folder of the server's kit."""
CONSORTIUM = Path("local", "consortium.yaml")
"""Where a person's kit has the consortium's file."""

Kind = Literal["server", "site", "person"]


def _matching(pattern: str, rule: str) -> Callable[[str], str]:
    """Return a validator for what NVFlare takes as a name; its own message is a regular expression."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"'{value}' must be {rule}")
        return value

    return check


_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_STUDY = _matching(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", "at most 63 letters, digits, '_' and '-'")
_SITE = _matching(SITE_NAME, SITE_NAME_RULE)
_ORGANIZATION = _matching(r"[A-Za-z0-9_]+", "letters, digits and '_'")
_HOST = _matching(rf"{_LABEL}(\.{_LABEL})*", "a host name or an IPv4 address, without a port")
_EMAIL = _matching(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}", "an e-mail address")

Organization = Annotated[str, AfterValidator(_ORGANIZATION)]
Email = Annotated[str, AfterValidator(_EMAIL)]


class Server(Section):
    """The one process that all sites and people connect to."""

    host: Annotated[str, Field(max_length=64), AfterValidator(_HOST)]
    """Where the sites reach it; a loopback name or address keeps the federation on one machine."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8002
    organization: Organization

    @property
    def name(self) -> str:
        """The server's name in its certificate; NVFlare binds to loopback only if it is ``localhost``."""
        return "localhost" if _is_loopback(self.host) else self.host


class Hospital(Section):
    """A site: it trains on its own data."""

    name: Annotated[str, AfterValidator(_SITE)]
    organization: Organization
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that the site offers; its process refuses to start where it finds fewer."""
    contact: Email | None = None
    """Whom to write to at the site; no other site is told."""
    own_key: bool = False
    """The site makes its private key itself, so no kit is made for it: provisioning/distributed.md."""


class Person(Section):
    """Somebody who talks to the server."""

    email: Email
    organization: Organization
    role: Literal["lead", "member", "org_admin", "project_admin"]

    @property
    def submits(self) -> bool:
        """Whether the role may submit jobs."""
        return self.role in SUBMITTERS


class Consortium(Section):
    """A federation: its server, its sites, its people."""

    study: Annotated[str, AfterValidator(_STUDY)]
    server: Server
    sites: Annotated[list[Hospital], Field(min_length=1)]
    people: Annotated[list[Person], Field(min_length=1)]
    certificate_days: Annotated[int, Field(ge=1, le=AUTHORITY_DAYS)] = 730
    """How long a kit's certificate is valid. Two years outlast most studies, so that no site has to renew its kit in
    the middle; and since nobody can call a certificate back, it is also how long a lost kit stays dangerous."""
    code_in_jobs: bool = False
    """Whether a lead or project_admin may send code with a job; each site must also say so in its own policy."""

    @property
    def kits(self) -> dict[str, Kind]:
        """The kits to make, by the name of their folder: for the server, sites without an own key, people."""
        own = [site.name for site in self.sites if site.own_key]
        return {name: kind for name, kind in self._participants() if name not in own}

    def _participants(self) -> list[tuple[str, Kind]]:
        sites: list[tuple[str, Kind]] = [(site.name, "site") for site in self.sites]
        return [(SERVER, "server"), *sites, *((person.email, "person") for person in self.people)]

    @model_validator(mode="after")
    def _check(self) -> Consortium:
        participants = [name for name, kind in self._participants() if kind != "server"]
        names = [AUTHORITY, *TAKEN, self.server.name.lower(), *(name.lower() for name in participants)]
        twice = [name for name in participants if names.count(name.lower()) > 1]
        if twice:
            reserved = f"'{AUTHORITY}', {', '.join(map(repr, TAKEN))} and the server's host"
            raise ValueError(f"the name '{twice[-1]}' is used twice, or is one of {reserved}")
        if not any(person.submits for person in self.people):
            raise ValueError("people: nobody could submit a job. Give one the role lead or project_admin")
        return self


def load_consortium(path: Path) -> Consortium:
    """Read a consortium's file.

    Raises:
        FedSwinError: if it cannot be read, or a key or value in it is wrong.
    """
    content = read_mapping(path, "consortium file", "'study', 'server', 'sites' and 'people'")
    return parse_section(Consortium, content, str(path))


def read_promises(kit: Path) -> dict[str, int]:
    """Return how many GPUs each site of the consortium offers, as a person's kit knows it; nothing if it does not.

    Raises:
        FedSwinError: if the kit's copy of the consortium's file is damaged.
    """
    path = kit / CONSORTIUM
    return {site.name: site.gpus for site in load_consortium(path).sites} if path.is_file() else {}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
