"""A federation on this machine, with scripts in place of NVFlare: whose processes are whose, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
import yaml

from fedswin.errors import FedSwinError
from fedswin.kits.consortium import SERVER
from fedswin.operations import local_federation
from fedswin.operations.kit_processes import FederationRecord, KitProcesses, kit_environment, write_record
from fedswin.operations.local_federation import choose_sites, create, down, local_state, up
from fedswin.run_lock import lock_run

SITES = ("a", "ab")
WITH_A_JOB = "setsid sleep 300 &\nexec sleep 300"
"""Stands for a kit's process that has started a job's in a session of its own."""


def federation(folder: Path, scripts: Mapping[str, str] | None = None) -> KitProcesses:
    """What ``create`` leaves, but for kits that run ``scripts`` and no kit for a person, so that none can log in."""
    for kit in (SERVER, *SITES):
        script = folder / "kits" / kit / "startup" / "sub_start.sh"
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/sh\n{(scripts or {}).get(kit, WITH_A_JOB)}\n")
        script.chmod(0o700)
    record = FederationRecord(port=local_federation._free_port(), sites=dict.fromkeys(SITES, folder))
    write_record(folder, record)
    return KitProcesses(folder)


def start(processes: KitProcesses) -> None:
    """Start every kit, and wait until its job runs, too."""
    for kit in (SERVER, *SITES):
        processes.start(kit, dict(os.environ))
    deadline = time.monotonic() + 10
    while len(processes.family()) < 6 or any("sh" in process.name() for process in processes.family()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[KitProcesses]:
    """A federation of which every kit runs, with a job's process for each."""
    processes = federation(tmp_path / "fed")
    start(processes)
    yield processes
    processes.end()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites are connected as soon as they run."""
    monkeypatch.setattr(local_federation, "wait_until_connected", lambda processes, kits: None)


def sites_at(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "datalist.json").write_text("{}")
    return folder


def test_another_command_knows_which_kits_run(running: KitProcesses) -> None:
    found = KitProcesses(running.folder).running()
    assert set(found) == {SERVER, *SITES}
    recorded = json.loads((running.folder / "federation.json").read_text())["processes"]
    for kit, process in found.items():
        assert recorded[kit]["pid"] == process.pid
        assert recorded[kit]["started"] == pytest.approx(process.create_time(), abs=1)


def test_down_ends_what_was_started_and_what_that_started_and_nothing_else(
    running: KitProcesses, tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    other = federation(tmp_path / "fed2")
    start(other)
    try:
        assert down(running.folder) == []
        assert running.family() == []
        assert len(other.running()) == 3
        assert bystander.poll() is None
    finally:
        other.end()
    assert not local_state(running.folder).processes
    assert down(running.folder) == []


def test_a_copy_of_a_federation_is_not_the_one_that_runs(running: KitProcesses, tmp_path: Path) -> None:
    shutil.copytree(running.folder, tmp_path / "copy")
    assert not local_state(tmp_path / "copy").processes
    down(tmp_path / "copy")
    assert len(running.family()) == 6


def test_a_number_that_another_process_has_by_now_is_nobodys(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    processes = federation(tmp_path / "fed")
    started = {"pid": bystander.pid, "started": psutil.Process(bystander.pid).create_time()}
    record = {**json.loads(processes.record().model_dump_json()), "processes": {SERVER: started}}
    (processes.folder / "federation.json").write_text(json.dumps(record))
    assert processes.running() == {}
    down(processes.folder)
    assert bystander.poll() is None


def test_a_number_that_one_of_its_own_processes_has_by_now_is_not_the_kits(running: KitProcesses) -> None:
    record = running.record()
    earlier = record.processes["a"].model_copy(update={"started": record.processes["a"].started - 100})
    write_record(running.folder, record.model_copy(update={"processes": {**record.processes, "a": earlier}}))
    assert set(running.running()) == {SERVER, "ab"}


def test_one_kit_is_ended_with_its_job_and_one_whose_name_begins_alike_is_not(running: KitProcesses) -> None:
    running.kill("a")
    assert len(running.family()) == 4
    assert set(running.running()) == {SERVER, "ab"}


@pytest.mark.usefixtures("at_once")
def test_up_starts_what_does_not_run_and_leaves_the_rest(tmp_path: Path) -> None:
    processes = federation(tmp_path / "fed")
    try:
        assert up(processes.folder)
        first = {kit: process.pid for kit, process in processes.running().items()}
        assert not up(processes.folder)
        os.kill(first["a"], 9)
        assert up(processes.folder)
        again = {kit: process.pid for kit, process in processes.running().items()}
        assert {kit for kit in first if first[kit] != again[kit]} == {"a"}
    finally:
        processes.end()


def test_a_start_that_fails_says_what_was_printed_and_leaves_nothing(tmp_path: Path) -> None:
    processes = federation(tmp_path / "fed", {"ab": "echo the certificate is too old\nexit 3"})
    with pytest.raises(FedSwinError, match="(?s)The process of ab ended.*the certificate is too old"):
        up(processes.folder)
    assert processes.family() == []


def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_federation, "_START_SECONDS", 0.1)
    monkeypatch.setattr(local_federation, "_START_SECONDS_OF_A_SITE", 0.0)
    processes = federation(tmp_path / "fed", {SERVER: "echo thinking\nexec sleep 300"})
    with pytest.raises(FedSwinError, match="(?s)The process of server was not ready after 0.1 s.*thinking"):
        up(processes.folder)
    assert processes.family() == []


def test_ctrl_c_during_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[psutil.Process] = []

    def interrupt(processes: KitProcesses, kits: list[str]) -> None:
        assert set(processes.running()) == set(kits)
        started.extend(processes.family())
        raise KeyboardInterrupt

    monkeypatch.setattr(local_federation, "wait_until_connected", interrupt)
    old = federation(tmp_path / "old")
    with pytest.raises(KeyboardInterrupt):
        up(old.folder)
    assert old.record().port

    monkeypatch.setattr(local_federation, "create", lambda folder, sites, port: federation(folder))
    with pytest.raises(KeyboardInterrupt):
        up(tmp_path / "new", sites_at(tmp_path / "data", *SITES))
    assert not (tmp_path / "new").exists()
    assert len(started) >= 2 * 3
    assert not [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_two_do_not_start_one_federation_at_the_same_time(tmp_path: Path) -> None:
    processes = federation(tmp_path / "fed")
    with lock_run(processes.folder), pytest.raises(FedSwinError, match="Wait for it, or end it and try again"):
        up(processes.folder)
    assert processes.family() == []


def test_a_port_in_use_is_not_shared(tmp_path: Path) -> None:
    processes = federation(tmp_path / "fed")
    with contextlib.closing(socket.create_server(("127.0.0.1", processes.record().port))):
        with pytest.raises(FedSwinError, match=f"Port {processes.record().port}.* in use by another process"):
            up(processes.folder)
        with pytest.raises(FedSwinError, match="Choose another, or none"):
            create(tmp_path / "new", {"a": tmp_path}, port=processes.record().port)
    assert processes.family() == []
    assert not (tmp_path / "new").exists()


def test_what_is_made_is_a_consortium_on_loopback(tmp_path: Path) -> None:
    data = sites_at(tmp_path / "data", "b", "a", "c")
    processes = create(tmp_path / "fed", choose_sites(data, 2))
    assert processes.record().sites == {"a": data / "a", "b": data / "b"}
    assert {kit.name for kit in processes.kits.iterdir()} == {
        "authority",
        "server",
        "a",
        "b",
        "lead@localhost.org",
    }
    server = yaml.safe_load((processes.folder / "consortium.yaml").read_text())["server"]
    assert (server["host"], server["port"]) == ("localhost", processes.record().port)
    assert processes.family() == []


def test_a_site_gets_its_own_data_and_its_share_of_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for name in ("FEDSWIN_SITE_DATA", "FEDSWIN_STUDIES"):
        monkeypatch.setenv(name, "/somebody/else")
    record = FederationRecord(port=1, sites={"a": tmp_path / "a", "b": tmp_path / "b"})
    site, server = kit_environment(record, "a"), kit_environment(record, SERVER)
    assert (site["FEDSWIN_SITE_DATA"], site["OMP_NUM_THREADS"]) == (str(tmp_path / "a"), "4")
    assert "FEDSWIN_SITE_DATA" not in server
    assert "FEDSWIN_STUDIES" not in {**site, **server}


def test_what_asks_for_another_federation_is_refused(tmp_path: Path) -> None:
    folder = federation(tmp_path / "fed").folder
    data = sites_at(tmp_path / "data", "a", "ab", "c")
    with pytest.raises(FedSwinError, match="is a federation of a, ab. Leave --data and --sites out"):
        up(folder, data)
    with pytest.raises(FedSwinError, match="is a federation of a, ab"):
        up(folder, count=1)
    with pytest.raises(FedSwinError, match="name port .* Leave --port out"):
        up(folder, port=1)
    with pytest.raises(FedSwinError, match=r"has 3 sites, a, ab, c, and --sites asks for 4"):
        choose_sites(data, 4)


@pytest.mark.usefixtures("at_once")
def test_a_federation_that_is_down_may_get_its_data_from_elsewhere(tmp_path: Path) -> None:
    processes = federation(tmp_path / "fed")
    try:
        up(processes.folder, sites_at(tmp_path / "first", *SITES))
        assert processes.record().sites["ab"] == tmp_path / "first" / "ab"
        with pytest.raises(FedSwinError, match="is up, with data from elsewhere. Take it down"):
            up(processes.folder, sites_at(tmp_path / "second", *SITES))
    finally:
        processes.end()


def test_where_no_federation_is_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for operation in (up, down, local_state):
        with pytest.raises(FedSwinError, match="notes is no federation: it has no readable federation.json"):
            operation(tmp_path / "notes")
    assert not list((tmp_path / "notes").iterdir())
    with pytest.raises(FedSwinError, match="new does not exist. Give --data"):
        up(tmp_path / "new")


@pytest.mark.parametrize(
    ("folder", "site", "said"),
    [
        ("my fed", "a", "cannot start jobs below a path with spaces"),
        ("fed", "a.b", "'a.b' must be letters, digits, '_' and '-'"),
        ("fed", "server", "the name 'server' is used twice"),
    ],
)
def test_names_that_nvflare_does_not_take(tmp_path: Path, folder: str, site: str, said: str) -> None:
    with pytest.raises(FedSwinError, match=said):
        create(tmp_path / folder, {site: tmp_path})
    assert not (tmp_path / folder).exists()
