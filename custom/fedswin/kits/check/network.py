"""Whether the server is reached, is the server, and takes this kit: one step after the other, as far as they go."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone

from cryptography import x509

from fedswin.kits.check.certificates import common_name, is_issued_by, judge_end
from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result
from fedswin.kits.kit import Kit
from fedswin.kits.manifest import read_certificate

SECONDS = 10.0
"""How long each step may take."""

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""The begin of an HTTP/2 connection with empty settings (RFC 9113, section 3.4). The server answers with its own, once
it has taken the certificate of who connects."""
_KIT = "this kit at the server"
_FIREWALL = "Ask your network's administrators to allow outgoing TCP connections to it"


def check_network(context: Context) -> Iterator[Result]:
    """Look up the server's name, connect to its port, and shake hands with it."""
    kit = context.kit
    yield from _proxy(kit)
    try:
        found = socket.getaddrinfo(kit.host, kit.port, type=socket.SOCK_STREAM)
    except OSError as error:
        fix = (
            "Ask the study lead whether the name is right, and your network's administrators whether it is known here."
        )
        yield Result("server's name", "error", f"{kit.host} is not known here ({error.strerror})", fix)
        return
    yield Result("server's name", "ok", f"{kit.host} is {', '.join(sorted({str(entry[4][0]) for entry in found}))}")
    try:
        connection = socket.create_connection((kit.host, kit.port), SECONDS)
    except OSError as error:
        yield _unreachable(kit, error)
        return
    yield Result("server's port", "ok", f"{kit.port} is open")
    with connection:
        yield from _handshake(kit, connection)


def _proxy(kit: Kit) -> Iterator[Result]:
    """Warn of a proxy in the environment: gRPC would connect through it, unless a suffix of the host is excepted."""
    names = [name for name in ("grpc_proxy", "https_proxy", "http_proxy") if os.environ.get(name)]
    lists = [os.environ[name] for name in ("no_grpc_proxy", "no_proxy") if os.environ.get(name)]
    excepted = [suffix.strip() for suffix in lists[0].split(",")] if lists else []
    if names and not any(suffix and kit.host.endswith(suffix) for suffix in excepted):
        found = f"the environment variable {names[0]} sends the connection to a proxy, and the checks here go directly"
        fix = f"Add {kit.host} to the variable no_proxy, unless the server is reached through the proxy only."
        yield Result("proxy", "warning", found, fix)


def _unreachable(kit: Kit, error: OSError) -> Result:
    """Say what a failed connection means."""
    where = f"port {kit.port} of {kit.host}"
    if error.errno == errno.ECONNREFUSED:
        if kit.role == "server":
            return Result("server's port", "ok", f"{kit.port} is free: the server does not run yet")
        fix = f"Ask the study lead whether the server runs. {_FIREWALL}."
        return Result("server's port", "error", f"{where} is closed", fix)
    if isinstance(error, TimeoutError):
        return Result("server's port", "error", f"{where} did not answer in {SECONDS:.0f} seconds", f"{_FIREWALL}.")
    return Result("server's port", "error", f"{where} cannot be reached ({error.strerror})", f"{_FIREWALL}.")


def _handshake(kit: Kit, connection: socket.socket) -> Iterator[Result]:
    """Shake hands with certificates on both sides, and wait until the server takes ours."""
    try:
        secure = _tls(kit).wrap_socket(connection, server_hostname=kit.host)
    except ssl.SSLCertVerificationError as error:
        yield _untrusted(kit, error)
        return
    except OSError as error:
        yield _refused(error) if _is_about_our_certificate(error) else _no_tls(error)
        return
    with secure:
        certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
        yield _judge_server(kit, certificate)
        yield _welcome(secure)


def _tls(kit: Kit) -> ssl.SSLContext:
    """Trust the kit's authority alone. The name is compared by `_judge_server`, since Python asks more than gRPC."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(kit.root)
    context.load_cert_chain(kit.certificate, kit.key)
    context.set_alpn_protocols(["h2"])
    return context


def _judge_server(kit: Kit, certificate: x509.Certificate) -> Result:
    """Say whether a certificate that our authority issued is that of the server, and until when."""
    names = _names(certificate)
    if kit.host.lower() not in names:
        found = f"it is for {', '.join(names) or 'nobody'}, and the kit connects to {kit.host}"
        fix = "Ask the study lead under which name the server is reached."
        return Result("server's certificate", "error", found, fix)
    state, found, fix = judge_end(certificate.not_valid_after_utc, datetime.now(timezone.utc))
    return Result("server's certificate", state, f"{kit.host}, of the same authority, until {found}", fix)


def _names(certificate: x509.Certificate) -> list[str]:
    """Return the names that a certificate is for. An address may be written as a name, which gRPC takes."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value).lower() for name in names]


def _untrusted(kit: Kit, error: ssl.SSLCertVerificationError) -> Result:
    """Look at the certificate that was not trusted, and say why."""
    try:
        pem = ssl.get_server_certificate((kit.host, kit.port), timeout=SECONDS)
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except (OSError, ValueError):
        return Result("server's certificate", "error", error.verify_message, "Ask the study lead.")
    if not is_issued_by(certificate, read_certificate(kit.root)):
        found = f"it is of another authority: {common_name(certificate.issuer)}"
        fix = (
            "Ask the study lead whether the kits were made again, and your network's administrators whether a firewall "
            "opens TLS connections; it must leave this one alone."
        )
        return Result("server's certificate", "error", found, fix)
    dates = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    fix = "Set this machine's clock, or ask the study lead to renew the server's certificate."
    return Result("server's certificate", "error", f"{error.verify_message}: it is valid from {dates}", fix)


def _no_tls(error: OSError) -> Result:
    fix = "Ask the study lead whether the server runs at this port, and your network's administrators for a firewall."
    return Result("server's certificate", "error", f"no TLS connection ({_reason(error)})", fix)


def _welcome(secure: ssl.SSLSocket) -> Result:
    """With TLS 1.3 the client learns only after the handshake whether its certificate was taken."""
    try:
        secure.sendall(_HELLO)
        answer = secure.recv(1)
    except TimeoutError:
        return Result(_KIT, "warning", f"the server did not answer in {SECONDS:.0f} seconds", "Try again later.")
    except OSError as error:
        return _refused(error)
    return Result(_KIT, "ok", "the server takes its certificate") if answer else _refused(ssl.SSLEOFError())


def _refused(error: OSError) -> Result:
    fix = "Ask the study lead whether the kits were made again."
    return Result(_KIT, "error", f"the server refuses its certificate ({_reason(error)})", fix)


def _is_about_our_certificate(error: OSError) -> bool:
    """Tell whether the other side has ended a handshake because of our certificate, which it does before TLS 1.3."""
    reason = str(getattr(error, "reason", None))
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _reason(error: OSError) -> str:
    """Name the reason of an error of TLS or of the network in a few words."""
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return "it closed the connection"
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if isinstance(reason, str) else error.strerror or type(error).__name__
