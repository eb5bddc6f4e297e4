"""The certificate authority of a consortium: the folder that only the study lead has.

It is laid out as `nvflare cert init` does, so `nvflare cert approve --ca-dir` takes it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from nvflare.lighter.utils import (
    Identity,
    generate_cert,
    generate_keys,
    load_crt,
    load_private_key_file,
    serialize_cert,
    serialize_pri_key,
)
from nvflare.tool.cert.cert_constants import (
    DEFAULT_PROVISION_VERSION,
    PROVISION_VERSION_FIELD,
    ROOTCA_FINGERPRINT_FIELD,
)
from nvflare.tool.cert.fingerprint import cert_fingerprint_sha256

from fedswin.errors import FedSwinError

AUTHORITY_DAYS = 3650
"""How long an authority lives. It has to outlive the study: with a new one, every kit must be made and handed over
again. Ten years is what `nvflare cert init` gives, too."""
CLOCK_SKEW = timedelta(days=1)
"""Certificates begin so long before now, since the clock of a site may be behind."""

_CERTIFICATE = "rootCA.pem"
_KEY = "rootCA.key"


@dataclass(frozen=True)
class Authority:
    """The certificate that everybody in a consortium trusts, and its private key."""

    certificate: x509.Certificate
    key: RSAPrivateKey

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate: ``SHA256:AB:CD:…``."""
        return cert_fingerprint_sha256(self.certificate)

    @property
    def ends(self) -> datetime:
        """When the certificate ends, and with it all that it signed."""
        return self.certificate.not_valid_after_utc


def create_authority(folder: Path, study: str) -> Authority:
    """Make the authority of a study and write it into a new folder, for its owner alone."""
    key, public_key = generate_keys()
    now = datetime.now(timezone.utc)
    certificate = generate_cert(
        Identity(study),
        Identity(study),
        key,
        public_key,
        ca=True,
        not_valid_before=now - CLOCK_SKEW,
        not_valid_after=now + timedelta(days=AUTHORITY_DAYS),
    )
    about = {
        "project": study,
        "created_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        PROVISION_VERSION_FIELD: DEFAULT_PROVISION_VERSION,
        ROOTCA_FINGERPRINT_FIELD: cert_fingerprint_sha256(certificate),
    }
    folder.mkdir(mode=0o700)
    write_private(folder / _KEY, serialize_pri_key(key))
    write_private(folder / _CERTIFICATE, serialize_cert(certificate))
    write_private(folder / "ca.json", json.dumps(about, indent=2).encode())
    return Authority(certificate, key)


def load_authority(folder: Path) -> Authority:
    """Read the authority from its folder.

    Raises:
        FedSwinError: if it is incomplete or damaged, or has ended.
    """
    try:
        authority = Authority(load_crt(folder / _CERTIFICATE), load_private_key_file(folder / _KEY))
    except (OSError, ValueError) as error:
        raise FedSwinError(
            f"{folder}: cannot read the authority ({error}). Bring back your copy of the folder; without one,"
            " --overwrite makes all kits again, with a new authority."
        ) from None
    if authority.ends <= datetime.now(timezone.utc):
        raise FedSwinError(
            f"{folder}: the authority ended on {authority.ends:%Y-%m-%d}. Make all kits again, with --overwrite."
        )
    return authority


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody but its owner can read, at no moment."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
