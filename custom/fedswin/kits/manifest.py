"""What a kit was made with: `manifest.json`, signed, so that a later change of its `startup` folder is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import nvflare
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from nvflare.lighter.utils import sign_content, verify_content
from nvflare.tool.cert.fingerprint import cert_fingerprint_sha256, normalize_sha256_fingerprint
from pydantic import BaseModel, ConfigDict, Field

import fedswin
from fedswin.checksum import file_sha256
from fedswin.durable import write_text_whole
from fedswin.errors import FedSwinError
from fedswin.kits.consortium import Kind

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"

PACKAGES = ("torch", "monai", "numpy")
"""What a model's numbers depend on, beside FedSwin and NVFlare."""

Signer = Literal["authority", "participant"]

_AGAIN = "Do not start the kit. Ask the study lead for it again"


class Manifest(BaseModel):
    """What a kit is, and the SHA-256 of each file that NVFlare starts it from.

    It may have been written by a newer FedSwin, so it is open to unknown keys.
    """

    model_config = ConfigDict(frozen=True)

    study: str
    participant: str
    kind: Kind
    made: date
    fedswin: str
    nvflare: str
    packages: dict[str, str] = Field(default_factory=dict)
    """The versions of `PACKAGES` that the kit was made with."""
    authority: str
    """The fingerprint of the authority's certificate, as `fingerprint` returns it."""
    signed_by: Signer
    """Whose key signed it: the participant's where that was made at the site and the authority never held the kit."""
    files: dict[str, str]
    """The SHA-256 of each file below the kit's folder ``startup``, by its path from the kit's folder."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a kit, and what to do."""

    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.problem}. {self.fix}."


class DamagedKitError(FedSwinError):
    """A kit whose manifest or certificates cannot be read."""

    def __init__(self, problem: str) -> None:
        self.fault = Fault(problem, _AGAIN)
        super().__init__(str(self.fault))


def write_manifest(kit: Path, study: str, participant: str, kind: Kind, key: RSAPrivateKey, signed_by: Signer) -> None:
    """Write a kit's manifest and its signature.

    Args:
        kit: the folder of the kit.
        study: the study's name.
        participant: the name of the server, site or person.
        kind: which of the three it is.
        key: the private key that signs.
        signed_by: whose it is.
    """
    manifest = Manifest(
        study=study,
        participant=participant,
        kind=kind,
        made=date.today(),
        fedswin=fedswin.__version__,
        nvflare=nvflare.__version__,
        packages={name: version(name) for name in PACKAGES},
        authority=fingerprint(kit),
        signed_by=signed_by,
        files={name: file_sha256(kit / name) for name in _startup_files(kit)},
    )
    content = manifest.model_dump_json(indent=2) + "\n"
    for name, text in ((SIGNATURE, f"{sign_content(content, key)}\n"), (MANIFEST, content)):
        write_text_whole(kit / name, text)


def read_manifest(kit: Path) -> Manifest:
    """Read a kit's manifest, without a check of its signature.

    Raises:
        DamagedKitError: if there is none, or it is damaged.
    """
    path = kit / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DamagedKitError(f"{path}: cannot read the kit's manifest ({error.strerror})") from None
    except ValueError:
        raise DamagedKitError(f"{path} is damaged") from None


def fingerprint(kit: Path) -> str:
    """Return the SHA-256 of the certificate of the authority that a kit trusts: ``SHA256:AB:CD:…``.

    Raises:
        DamagedKitError: if the kit has no such certificate.
    """
    return cert_fingerprint_sha256(root_certificate(kit))


def root_certificate(kit: Path) -> x509.Certificate:
    """Return the certificate of the authority that a kit trusts.

    Raises:
        DamagedKitError: if the kit has none.
    """
    return read_certificate(kit / "startup" / "rootCA.pem")


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate of a kit from its PEM file.

    Raises:
        DamagedKitError: if it cannot be read.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise DamagedKitError(f"{path}: cannot read the certificate ({error.strerror})") from None
    except ValueError:
        raise DamagedKitError(f"{path} is no certificate") from None


def own_certificate(kit: Path) -> x509.Certificate:
    """Return the certificate of a kit's participant.

    Raises:
        DamagedKitError: if the kit has none.
    """
    is_server = (kit / "startup" / "fed_server.json").is_file()
    return read_certificate(kit / "startup" / ("server.crt" if is_server else "client.crt"))


def check_manifest(kit: Path, authority: str | None = None) -> list[Fault]:
    """Compare a kit with its manifest, and the manifest with its signature.

    Somebody who replaces the authority's certificate and the manifest together is found only by ``authority``.

    Args:
        kit: the folder of the kit.
        authority: the fingerprint that `fedswin provision` printed, as the study lead said it; any usual spelling.

    Returns:
        What was altered, removed or added since the kit was made. Nothing, if all is as it was.

    Raises:
        FedSwinError: if ``authority`` is no fingerprint.
    """
    expected = None if authority is None else normalize_sha256_fingerprint(authority)
    if expected == "":
        raise FedSwinError(f"'{authority}' is no fingerprint. One has 64 hexadecimal digits: SHA256:AB:CD:…")
    try:
        manifest = read_manifest(kit)
        actual = fingerprint(kit)
        signed = _is_signed(kit, manifest)
    except DamagedKitError as error:
        return [error.fault]
    faults = list(_changes(kit, manifest))
    if not signed:
        whose = "the authority" if manifest.signed_by == "authority" else "this participant"
        faults.insert(0, Fault(f"{MANIFEST} was not signed by {whose}", _AGAIN))
    if actual != manifest.authority or actual != (expected or actual):
        faults.insert(0, Fault(f"the kit trusts another authority: {actual}", f"{_AGAIN}, and for the fingerprint"))
    return faults


def _is_signed(kit: Path, manifest: Manifest) -> bool:
    root = signer = root_certificate(kit)
    try:
        if manifest.signed_by == "participant":
            signer = own_certificate(kit)
            signer.verify_directly_issued_by(root)
        verify_content((kit / MANIFEST).read_bytes(), (kit / SIGNATURE).read_text().strip(), signer.public_key())
    except (InvalidSignature, OSError, ValueError, TypeError):
        return False
    return True


def _changes(kit: Path, manifest: Manifest) -> Iterator[Fault]:
    present = _startup_files(kit)
    for name in sorted({*present, *manifest.files}):
        if name not in present:
            yield Fault(f"{name} is missing", _AGAIN)
        elif name not in manifest.files:
            yield Fault(f"{name} was added", "Remove it, unless the site put it there and knows why")
        elif not _is_unchanged(kit / name, manifest.files[name]):
            yield Fault(f"{name} was altered", _AGAIN)


def _is_unchanged(path: Path, digest: str) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and file_sha256(path) == digest
    except OSError:
        return False


def _startup_files(kit: Path) -> list[str]:
    """Everything below ``startup`` but folders; a link counts as a file, wherever it leads."""
    found = (kit / "startup").rglob("*")
    return sorted(path.relative_to(kit).as_posix() for path in found if path.is_symlink() or not path.is_dir())
