"""Every way in which a server is not reached, is not the server, or does not take the kit, told apart."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from fedswin.kits.check import network
from fedswin.kits.check.context import Context
from fedswin.kits.check.network import check_network
from fedswin.kits.check.result import Result
from fedswin.kits.kit import Kit, read_kit
from kits.check.authority import YEAR, Authority, Issued, write_kit

HOUR = timedelta(hours=1)
Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """Give a port of loopback whose connections are handed to ``serve``, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def tls(folder: Path, trusted: Authority, own: Issued, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Serve:
    """Serve as gRPC does: ask for a certificate of ``trusted``, and then send the settings of HTTP/2."""
    own.write(folder, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = most
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    context.load_verify_locations(cadata=trusted.root.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            if secure.selected_alpn_protocol() == "h2" and secure.recv(24).startswith(b"PRI * HTTP/2.0"):
                secure.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
                secure.recv(100)

    return serve


def last(kit: Kit) -> Result:
    """Return where the checks came to an end; all before that were well."""
    *before, result = check_network(Context(kit))
    assert {entry.state for entry in before} <= {"ok"}
    return result


def site(folder: Path, authority: Authority, port: int, host: str = "localhost") -> Kit:
    return write_kit(folder / "kit", authority, authority.issue("hospital_a"), host=host, port=port)


def test_a_server_that_is_well(tmp_path: Path) -> None:
    authority = Authority()
    with listening(tls(tmp_path, authority, authority.issue("localhost"))) as port:
        results = list(check_network(Context(site(tmp_path, authority, port))))
    assert [result.name for result in results] == [
        "server's name",
        "server's port",
        "server's certificate",
        "this kit at the server",
    ]
    assert {result.state for result in results} == {"ok"}


def test_an_address_that_the_certificate_holds_as_a_name_is_taken_as_grpc_does(tmp_path: Path) -> None:
    authority = Authority()
    with listening(tls(tmp_path, authority, authority.issue("127.0.0.1"))) as port:
        assert last(site(tmp_path, authority, port, "127.0.0.1")).state == "ok"


def test_a_certificate_of_another_authority_names_who_issued_it(tmp_path: Path) -> None:
    authority, inspector = Authority(), Authority("Inspecting Firewall")
    with listening(tls(tmp_path, authority, inspector.issue("localhost"))) as port:
        result = last(site(tmp_path, authority, port))
    assert (result.name, result.state) == ("server's certificate", "error")
    assert result.found == "it is of another authority: Inspecting Firewall"


def test_a_certificate_of_another_authority_of_the_same_name(tmp_path: Path) -> None:
    authority, old = Authority(), Authority()
    with listening(tls(tmp_path, authority, old.issue("localhost"))) as port:
        assert last(site(tmp_path, authority, port)).found == "it is of another authority: the_study"


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    authority = Authority()
    with listening(tls(tmp_path, authority, authority.issue("fl.example.org"))) as port:
        _, _, result, welcome = check_network(Context(site(tmp_path, authority, port)))
    assert (result.state, result.found) == ("error", "it is for fl.example.org, and the kit connects to localhost")
    assert welcome.state == "ok"


@pytest.mark.parametrize(
    ("begin", "end", "words"), [(-YEAR, -HOUR, "certificate has expired"), (HOUR, YEAR, "is not yet valid")]
)
def test_a_certificate_of_another_time(tmp_path: Path, begin: timedelta, end: timedelta, words: str) -> None:
    authority = Authority()
    with listening(tls(tmp_path, authority, authority.issue("localhost", begin, end))) as port:
        result = last(site(tmp_path, authority, port))
    assert (result.name, result.state) == ("server's certificate", "error")
    assert words in result.found


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_refuses_the_kit(tmp_path: Path, most: ssl.TLSVersion) -> None:
    authority = Authority()
    with listening(tls(tmp_path, Authority("other"), authority.issue("localhost"), most)) as port:
        result = last(site(tmp_path, authority, port))
    assert (result.name, result.state) == ("this kit at the server", "error")
    assert "the server refuses its certificate" in result.found


def test_a_closed_port(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = last(site(tmp_path, Authority(), unused.getsockname()[1]))
    assert (result.name, result.state) == ("server's port", "error")
    assert "is closed" in result.found


def test_the_servers_own_port_is_closed_before_it_starts(server: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        path = server / "startup" / "fed_server.json"
        path.write_text(path.read_text().replace("localhost:8002", f"localhost:{unused.getsockname()[1]}"))
        result = last(read_kit(server))
    assert (result.name, result.state) == ("server's port", "ok")


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    result = last(site(tmp_path, Authority(), 8002, "fl.invalid"))
    assert (result.name, result.state) == ("server's name", "error")
    assert "fl.invalid is not known here" in result.found


def test_a_firewall_that_drops_what_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(*_: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", drop)
    result = last(site(tmp_path, Authority(), 8002))
    assert (result.name, result.state, result.found) == (
        "server's port",
        "error",
        "port 8002 of localhost did not answer in 10 seconds",
    )


def test_what_listens_but_speaks_no_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SECONDS", 0.3)
    for number, serve in enumerate((lambda connection: connection.sendall(b"220 mail\r\n"), lambda c: c.recv(10**6))):
        with listening(serve) as port:
            result = last(site(tmp_path / str(number), Authority(), port))
        assert (result.name, result.state) == ("server's certificate", "error")
        assert "no TLS connection" in result.found


def test_a_proxy_that_grpc_would_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = site(tmp_path, Authority(), 8002, "fl.invalid")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert next(check_network(Context(kit))).state == "warning"
    monkeypatch.setenv("no_proxy", "localhost, .invalid")
    assert next(check_network(Context(kit))).name == "server's name"
