"""The certificates of a kit: whose they are, who issued them, and from when to when they are valid."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result
from fedswin.kits.kit import ASK_AGAIN, Kit
from fedswin.kits.manifest import read_certificate

_SOON = timedelta(days=30)
_RENEW = "Ask the study lead to renew it."


def check_issuer(context: Context) -> Iterator[Result]:
    """The certificate is one of the authority's, and its private key is there."""
    kit = context.kit
    certificate, root = read_certificate(kit.certificate), read_certificate(kit.root)
    if not is_issued_by(certificate, root):
        yield Result("certificate", "error", f"{kit.certificate} was not issued by {kit.root}", ASK_AGAIN)
    elif not _is_key_of(kit, certificate):
        yield Result("certificate", "error", f"{kit.key} is not the key of {kit.certificate}", ASK_AGAIN)
    else:
        yield Result("certificate", "ok", f"{kit.name} of {kit.organization}, issued by {common_name(root.subject)}")


def check_dates(context: Context) -> Iterator[Result]:
    """Neither the certificate nor the authority's has ended, or will soon; and the clock is not before their begin."""
    for name, path in (("certificate's end", context.kit.certificate), ("authority's end", context.kit.root)):
        end = read_certificate(path).not_valid_after_utc
        yield Result(name, *judge_end(end, datetime.now(timezone.utc)))


def check_clock(context: Context) -> Iterator[Result]:
    """A clock before the begin of a certificate is wrong. The server tells no time, so a smaller error is not seen."""
    now = datetime.now(timezone.utc)
    begin = max(read_certificate(path).not_valid_before_utc for path in (context.kit.certificate, context.kit.root))
    if now < begin:
        found = f"it is {now:%Y-%m-%d %H:%M} UTC here, and the certificate begins on {begin:%Y-%m-%d %H:%M}"
        yield Result("clock", "error", found, "Set this machine's clock.")
    else:
        yield Result(
            "clock",
            "ok",
            f"{now:%Y-%m-%d %H:%M} UTC is within the dates of the certificates; the server tells no time",
        )


def judge_end(end: datetime, now: datetime) -> tuple[Literal["ok", "warning", "error"], str, str]:
    """Return how a certificate that is valid until ``end`` is: the state, what was found, what to do."""
    if now > end:
        return "error", f"it ended on {end:%Y-%m-%d}", _RENEW
    if end - now < _SOON:
        return "warning", f"it ends on {end:%Y-%m-%d}, in {(end - now).days} days", _RENEW
    return "ok", f"{end:%Y-%m-%d}", ""


def is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    """Tell whether the key of ``root`` signed ``certificate``."""
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def common_name(name: x509.Name) -> str:
    """Return the common name in ``name``, or all of it if it has none."""
    values = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(values[0].value) if values else name.rfc4514_string()


def _is_key_of(kit: Kit, certificate: x509.Certificate) -> bool:
    try:
        key = load_pem_private_key(kit.key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return False
    return key.public_key() == certificate.public_key()
