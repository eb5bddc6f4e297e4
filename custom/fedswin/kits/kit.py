"""A kit whose process can be started: a site's, or the server's."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

from fedswin.errors import FedSwinError
from fedswin.kits.manifest import read_certificate

Role = Literal["site", "server"]

ASK_AGAIN = "Ask the study lead for the kit again."

_FILES: dict[Role, tuple[str, str]] = {
    "site": ("fed_client.json", "client.crt"),
    "server": ("fed_server.json", "server.crt"),
}
"""Names below ``startup``: what NVFlare reads first, and the participant's certificate."""


@dataclass(frozen=True)
class Kit:
    """What a kit says of itself.

    Attributes:
        folder: the kit, as an absolute path.
        role: whose kit it is.
        name: the participant's name, from its certificate.
        organization: the participant's organization, from its certificate.
        host: where the server is reached.
        port: the server's port.
    """

    folder: Path
    role: Role
    name: str
    organization: str
    host: str
    port: int

    @property
    def startup(self) -> Path:
        """The folder of what the authority made."""
        return self.folder / "startup"

    @property
    def local(self) -> Path:
        """The folder of what is the participant's own."""
        return self.folder / "local"

    @property
    def configuration(self) -> str:
        """The name of the file below ``startup`` that NVFlare reads first."""
        return _FILES[self.role][0]

    @property
    def root(self) -> Path:
        """The certificate of the authority."""
        return self.startup / "rootCA.pem"

    @property
    def certificate(self) -> Path:
        """The participant's certificate."""
        return self.startup / _FILES[self.role][1]

    @property
    def key(self) -> Path:
        """The participant's private key."""
        return self.certificate.with_suffix(".key")


def read_kit(folder: Path) -> Kit:
    """Read what a kit is.

    Raises:
        FedSwinError: if it is no kit of a site or a server, or a file that says what it is cannot be read.
    """
    whole = Path(os.path.abspath(folder))
    startup = whole / "startup"
    roles = [role for role, (configuration, _) in _FILES.items() if (startup / configuration).is_file()]
    if len(roles) != 1:
        raise FedSwinError(
            f"{folder} is no kit of a site or a server: either fed_client.json or fed_server.json is expected in its "
            "folder 'startup'. Give the folder that holds 'startup' and 'local'."
        )
    configuration, certificate = _FILES[roles[0]]
    subject = read_certificate(startup / certificate).subject
    host, port = _address(startup / configuration)
    name, organization = (_attribute(subject, oid) for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME))
    return Kit(whole, roles[0], name, organization, host, port)


def read_rules(kit: Kit, name: str) -> dict[str, Any]:
    """Read one of the files of rules in a kit's folder ``local``, such as ``resources.json``.

    Raises:
        FedSwinError: if it cannot be read.
    """
    path = kit.local / name
    try:
        return dict(json.loads(path.read_text()))
    except OSError as error:
        raise FedSwinError(f"{path}: cannot read it ({error.strerror}). {ASK_AGAIN}") from None
    except (ValueError, TypeError) as error:
        raise FedSwinError(f"{path} is not valid JSON with names and values: {error}.") from None


def survives_a_shell(path: str) -> bool:
    """Whether a path stays one word as it is, since NVFlare writes it unquoted into the command line of a job."""
    try:
        return shlex.split(path) == [path]
    except ValueError:
        return False


def _address(path: Path) -> tuple[str, int]:
    """Return the host and port of the server from NVFlare's configuration."""
    try:
        host, _, port = json.loads(path.read_text())["servers"][0]["service"]["target"].rpartition(":")
        return host, int(port)
    except OSError as error:
        raise FedSwinError(f"{path}: cannot read it ({error.strerror}). {ASK_AGAIN}") from None
    except (ValueError, LookupError, TypeError):
        raise FedSwinError(f"{path} does not say where the server is. {ASK_AGAIN}") from None


def _attribute(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""
