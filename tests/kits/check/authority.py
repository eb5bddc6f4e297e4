"""Certificates and small kits for tests, made with `cryptography` alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fedswin.kits.kit import Kit, read_kit

YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.crt").write_bytes(self.certificate)
        key = folder / f"{name}.key"
        key.write_bytes(self.key)
        key.chmod(0o600)


class Authority:
    """Issues certificates."""

    def __init__(self, name: str = "the_study", begin: timedelta = -YEAR, end: timedelta = YEAR) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key(), begin, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.root = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(self, name: str, begin: timedelta = -YEAR, end: timedelta = YEAR) -> Issued:
        """Issue a certificate that is valid from ``begin`` to ``end``, seen from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [(NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, "somebody")]
        builder = _builder(
            x509.Name([x509.NameAttribute(oid, value) for oid, value in subject]),
            self._name,
            key.public_key(),
            begin,
            end,
        ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return Issued(
            builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        )


def write_kit(folder: Path, authority: Authority, own: Issued, *, host: str = "localhost", port: int = 8002) -> Kit:
    """Write what of a site's kit the checks of certificates and of the network read."""
    startup = folder / "startup"
    own.write(startup, "client")
    (startup / "rootCA.pem").write_bytes(authority.root)
    service = {"target": f"{host}:{port}", "scheme": "grpc"}
    (startup / "fed_client.json").write_text(json.dumps({"servers": [{"name": "the_study", "service": service}]}))
    (folder / "local").mkdir()
    return read_kit(folder)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: timedelta, end: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
    )
