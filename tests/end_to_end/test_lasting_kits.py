"""A federation that lasts: beside its first kits work those that are added, renewed, and made at the site itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from end_to_end.federation import LEAD, RunningFederation
from end_to_end.tiny import write_sites
from fedswin.config import load_job
from fedswin.kits.consortium import SERVER
from fedswin.kits.manifest import check_manifest, fingerprint, read_manifest
from fedswin.kits.provision import provision
from fedswin.operations.admin import COMPLETED, Federation
from fedswin.operations.kit_processes import FederationRecord, KitProcesses, write_record
from fedswin.operations.local_federation import _free_port
from fedswin.operations.submit import submit
from fedswin.weights.handover import initial_state

OWN = "hospital_own"
JOB = Path(__file__).resolve().parents[2] / "jobs" / "demo" / "pretrain.yaml"
JOB_SECONDS = 240.0

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]


def test_added_renewed_and_self_made_kits_train_with_the_first(tmp_path: Path) -> None:
    names = ["hospital_a", "hospital_new", OWN]
    data = write_sites(tmp_path / "data", dict.fromkeys(names, 1))
    port = _free_port()
    content = first_consortium(port)
    consortium, kits = tmp_path / "consortium.yaml", tmp_path / "kits"
    consortium.write_text(yaml.safe_dump(content))
    provision(consortium, kits)
    write_record(tmp_path, FederationRecord(port=port, sites={name: data / name for name in names}))
    federation = RunningFederation(KitProcesses(tmp_path))
    try:
        federation.start(SERVER)
        content["sites"].append({"name": "hospital_new", "organization": "hospital_new"})
        consortium.write_text(yaml.safe_dump(content))
        provision(consortium, kits, renew=["hospital_a"])
        made = make_own_kit(kits, tmp_path)
        assert read_manifest(made).signed_by == "participant"
        shutil.rmtree(kits / OWN)
        shutil.move(made, kits / OWN)
        for name in names:
            federation.start(name)
        federation.wait_until_connected(names)
        job = load_job(JOB, ["federation.local_steps=1", "federation.rounds=1", "federation.min_sites=3"])
        job_id = submit(job, initial_state(job), federation.lead).job_id
        assert federation.ended(job_id, JOB_SECONDS) == COMPLETED, federation.tails()
        check_a_site_is_barred(federation, tmp_path, [name for name in names if name != OWN])
    finally:
        federation.end()
    expected = fingerprint(kits / SERVER)
    for kit in (SERVER, "hospital_a", "hospital_new", OWN, LEAD):
        assert check_manifest(kits / kit, expected) == []


def first_consortium(port: int) -> dict[str, Any]:
    return {
        "study": "test_study",
        "server": {"host": "localhost", "port": port, "organization": "university"},
        "sites": [
            {"name": "hospital_a", "organization": "hospital_a"},
            {"name": OWN, "organization": "hospital_own", "own_key": True},
        ],
        "people": [
            {"email": LEAD, "organization": "university", "role": "lead"},
        ],
    }


def make_own_kit(kits: Path, tmp_path: Path) -> Path:
    """The steps of provisioning/distributed.md, at the site and at the lead in turn."""
    site, authority = tmp_path / "site", kits / "authority"
    site.mkdir()
    shutil.copy(kits / OWN / "participant.yaml", site)
    run(site, "nvflare", "cert", "request", "--participant", "participant.yaml")
    request = site / OWN / f"{OWN}.request.zip"
    run(tmp_path, "nvflare", "cert", "approve", str(request), "--ca-dir", str(authority), "--profile",
        str(authority / "profile.yaml"), "--valid-days", "730", "--out", str(site / f"{OWN}.signed.zip"))  # fmt: skip
    run(
        site,
        "nvflare",
        "package",
        f"{OWN}.signed.zip",
        "--request-dir",
        OWN,
        "--fingerprint",
        fingerprint(kits / SERVER),
    )
    kit = site / "workspace" / "test_study" / "prod_00" / OWN
    run(site, "fedswin", "adopt", str(kit))
    key = (kit / "startup" / "client.key").read_bytes()
    assert not any(key in path.read_bytes() for path in kits.rglob("*") if path.is_file())
    return kit


def check_a_site_is_barred(federation: RunningFederation, folder: Path, others: list[str]) -> None:
    run(folder, "nvflare", "system", "disable-client", OWN, "--force", "--startup-kit", str(federation.lead))
    deadline = time.monotonic() + 20
    with Federation(federation.lead) as session:
        while time.monotonic() < deadline:
            assert session.connected_sites() == others
            time.sleep(2)
    assert OWN in (federation.kits / SERVER / "disabled_clients.json").read_text()  # so a restart does not forget it


def run(folder: Path, program: str, *arguments: str) -> None:
    """Run a command of this environment in ``folder``, with a home of its own: NVFlare writes there."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    result = subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
