"""What a federation refuses, with real processes over mTLS: one for all, which each refusal leaves as it was."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from nvflare.fuel.hci.client import file_transfer

from end_to_end import tiny
from end_to_end.federation import ADMIN, RunningFederation, run_federation
from fedswin.config import Job
from fedswin.federation import messages
from fedswin.kits.authority import load_authority
from fedswin.kits.consortium import AUTHORITY
from fedswin.kits.provision import provision
from fedswin.operations.admin import COMPLETED, Federation
from fedswin.operations.decisions import decisions
from fedswin.operations.fetch import fetch
from fedswin.operations.submit import export_job
from fedswin.records import read_records
from fedswin.weights.handover import initial_state

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

STRICT, OPEN, SPARE = "strict", "open", "spare"
"""A site that runs certain jobs and no code, one that runs any, and one that is not started."""
SITES = (STRICT, OPEN)
JOB_SECONDS = 240.0
CONNECT_SECONDS = 60.0
REFUSAL_SECONDS = 20.0
"""A site whose kit is in order is connected in a third of it."""
Edit = Callable[[Path], object]


def make_job(name: str = "tiny_study", **federation: Any) -> Job:
    return tiny.job({**tiny.PRETRAIN, "name": name, "federation": {"rounds": 1, "local_steps": 1, **federation}})


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFederation]:
    folder = tmp_path_factory.mktemp("refusals")
    data = tiny.write_sites(folder / "data", dict.fromkeys((*SITES, SPARE), 1))
    policies = {STRICT: "jobs: [tiny_*]\n", OPEN: "code_in_jobs: true\n"}
    where = {name: data / name for name in SITES}
    with run_federation(folder, where, [SPARE], code_in_jobs=True, policies=policies) as running:
        yield running
        assert sites_of(running) == sorted(SITES)
    assert running.family() == []


def sites_of(federation: RunningFederation) -> list[str]:
    with Federation(federation.lead) as session:
        return session.connected_sites()


def send(federation: RunningFederation, job: Job, folder: Path, edit: Edit = str, **more: Any) -> dict[str, Any]:
    """Submit a job that is altered after it was exported, as NVFlare's command would, and wait until it has ended."""
    folder.mkdir()
    exported = export_job(job, SITES, folder, initial=initial_state(job), **more)
    edit(exported)
    with Federation(federation.lead) as session:
        return session.wait(session.submit(exported), JOB_SECONDS)


def refusals(about: dict[str, Any]) -> dict[str, str]:
    return {decision.name: decision.why for decision in decisions(about, ["server", *SITES]) if decision.why}


def test_code_runs_where_the_site_says_so_and_nowhere_else(federation: RunningFederation, tmp_path: Path) -> None:
    def leave_a_trace(exported: Path) -> None:
        for app in exported.glob("app_*"):
            module = app / "custom" / "fedswin" / "federation" / "client.py"
            module.write_text(f"{module.read_text()}\n\nopen({str(tmp_path / app.name)!r}, 'w').close()\n")

    about = send(federation, make_job(), tmp_path / "job", leave_a_trace, code="shipped")
    assert refusals(about) == {STRICT: "it brings code, and this site runs none (code_in_jobs in its site.yaml)"}
    assert [path.name for path in tmp_path.glob("app_*")] == [f"app_{OPEN}"]
    assert about["status"] == COMPLETED
    fetch(about["job_id"], federation.lead, tmp_path / "run")
    assert [set(record["sites"]) for record in read_records(tmp_path / "run")] == [{OPEN}] * 2


def test_a_job_that_asks_for_another_command_runs_nowhere(federation: RunningFederation, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    def ask_for_a_command(exported: Path) -> None:
        for path in exported.glob("app_[!s]*/config/config_fed_client.json"):
            content = json.loads(path.read_text())
            content["executors"][0]["executor"] = {
                "path": "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor",
                "args": {"execution_mode": "external_process", "command": ["touch", str(canary)]},
            }
            path.write_text(json.dumps(content))
        shutil.rmtree(exported / f"app_{STRICT}")
        shutil.copytree(exported / f"app_{OPEN}", exported / f"app_{STRICT}")

    about = send(federation, make_job(), tmp_path / "job", ask_for_a_command)
    assert about["status"] == "FINISHED:FAILED_TO_RUN"
    assert set(refusals(about)) == set(SITES)
    assert all("ClientAPIExecutor, which this site does not allow" in why for why in refusals(about).values())
    assert not canary.exists()


def test_a_site_takes_part_in_the_jobs_that_its_policy_names(federation: RunningFederation, tmp_path: Path) -> None:
    about = send(federation, make_job("another"), tmp_path / "job")
    assert refusals(about) == {STRICT: "this site takes no part in jobs called 'another'"}
    assert about["status"] == COMPLETED


def test_the_server_gives_up_a_job_that_wants_more_gpus_than_there_are(
    federation: RunningFederation, tmp_path: Path
) -> None:
    started = time.monotonic()
    about = send(federation, make_job(gpus=2), tmp_path / "job")
    assert about["status"] == "FINISHED:CAN_NOT_SCHEDULE"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("altered", ["after signing", "not signed"])
def test_a_job_that_is_not_what_the_lead_signed_runs_nowhere(
    federation: RunningFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, altered: str
) -> None:
    sign = file_transfer.sign_folders

    def sign_and_alter(folder: str, *args: Any) -> None:
        if altered == "after signing":
            sign(folder, *args)
        for path in Path(folder).glob(f"app_*/config/{messages.JOB_FILE}"):
            path.write_text(path.read_text().replace("seed: 0", "seed: 1"))

    monkeypatch.setattr(file_transfer, "sign_folders", sign_and_alter)
    about = send(federation, make_job(), tmp_path / "job")
    assert about["status"] == "FINISHED:FAILED_TO_RUN"
    assert "server" in refusals(about)


def test_nvflares_own_command_submits_what_was_exported(federation: RunningFederation, tmp_path: Path) -> None:
    job = make_job()
    exported = export_job(job, SITES, tmp_path, initial=initial_state(job))
    said = nvflare(federation.lead, tmp_path, "job", "submit", "-j", str(exported), "--format", "json")
    with Federation(federation.lead) as session:
        assert session.wait(json.loads(said)["data"]["job_id"], JOB_SECONDS)["status"] == COMPLETED


def nvflare(kit: Path, home: Path, *arguments: str) -> str:
    """Run NVFlare's own command as the person of a kit, with a home of its own, and return what it prints."""
    command = [str(Path(sys.executable).with_name("nvflare")), *arguments, "--startup-kit", str(kit)]
    done = subprocess.run(command, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_site_that_was_disabled_is_not_let_in(federation: RunningFederation, tmp_path: Path) -> None:
    """Enabled again it connects, so what was seen before is a refusal; disabled once more it is out at once."""
    admin = federation.kits / ADMIN
    nvflare(admin, tmp_path, "system", "disable-client", SPARE, "--force")
    assert not connects(federation, REFUSAL_SECONDS)
    nvflare(admin, tmp_path, "system", "enable-client", SPARE, "--force")
    assert connects(federation, CONNECT_SECONDS)
    nvflare(admin, tmp_path, "system", "disable-client", SPARE, "--force")
    assert sites_of(federation) == sorted(SITES)


def connects(federation: RunningFederation, seconds: float) -> bool:
    """Start the spare site, say whether it is connected within some seconds, and end it."""
    federation.start(SPARE)
    try:
        deadline = time.monotonic() + seconds
        while (connected := sites_of(federation)) == sorted(SITES) and time.monotonic() < deadline:
            time.sleep(0.5)
        return connected == sorted((*SITES, SPARE))
    finally:
        federation.kill(SPARE)


class TestTheServersDoor:
    """Whom the server talks to, asked without our own software, which would refuse an altered kit by itself."""

    def test_opens_for_a_certificate_of_its_authority(self, federation: RunningFederation) -> None:
        startup = federation.kits / SPARE / "startup"
        assert is_let_in(federation, startup / "client.crt", startup / "client.key")

    def test_stays_shut_for_another_authority(self, federation: RunningFederation, tmp_path: Path) -> None:
        provision(federation.kits.parent / "consortium.yaml", tmp_path / "other")
        startup = tmp_path / "other" / SPARE / "startup"
        assert not is_let_in(federation, startup / "client.crt", startup / "client.key")

    @pytest.mark.parametrize(("days", "expected"), [(1, True), (-1, False)])
    def test_stays_shut_once_a_certificate_has_ended(
        self, federation: RunningFederation, tmp_path: Path, days: int, expected: bool
    ) -> None:
        startup = federation.kits / SPARE / "startup"
        certificate = reissued(federation, x509.load_pem_x509_certificate((startup / "client.crt").read_bytes()), days)
        (tmp_path / "client.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        assert is_let_in(federation, tmp_path / "client.crt", startup / "client.key") == expected


def is_let_in(federation: RunningFederation, certificate: Path, key: Path) -> bool:
    """Knock at the server's port with a certificate, as gRPC does; it answers with its settings, or not at all."""
    context = ssl.create_default_context(cafile=str(federation.lead / "startup" / "rootCA.pem"))
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", federation.port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as door:
                door.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                return bool(door.recv(9))
        except (ssl.SSLError, ConnectionError):
            return False


def reissued(federation: RunningFederation, old: x509.Certificate, days: int) -> x509.Certificate:
    """Return a certificate as ``old``, by the same authority, that ends so many days from now."""
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), old.serial_number)
    builder = builder.not_valid_before(now - timedelta(days=2)).not_valid_after(now + timedelta(days=days))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(load_authority(federation.kits / AUTHORITY).key, hashes.SHA256())
