"""A real federation on this machine, for tests: a server and sites as processes of their own, over mTLS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from fedswin.errors import FedSwinError
from fedswin.federation.messages import SITE_DATA_VARIABLE
from fedswin.kits.consortium import SERVER
from fedswin.kits.provision import provision
from fedswin.operations.admin import Federation

LEAD = "lead@university.org"
MEMBER = "member@university.org"
_MARK = "FEDSWIN_TEST_FEDERATION"
_START_SECONDS = 90.0
_END_SECONDS = 10.0
_FAST = {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Two sites share two cores, and half of a step's time would go into page faults."""


@dataclass
class RunningFederation:
    """What a test may ask of a federation that runs.

    Attributes:
        kits: the folder of the kits.
        port: the server's port.
        processes: the process of each kit that runs.
    """

    kits: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def lead(self) -> Path:
        """The kit of a person who may do everything with jobs."""
        return self.kits / LEAD

    def start(self, name: str, **environment: str) -> None:
        """Start the process of the kit ``name``."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the kit's scripts run plain python3
        with self._console(name).open("w") as console:
            self.processes[name] = subprocess.Popen(
                [str(self.kits / name / "startup" / "sub_start.sh"), "--once"],
                env={**os.environ, **_FAST, "PATH": path, _MARK: self._mark, **environment},
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill the process of the kit ``name``, and what it has started, all at once."""
        kit = str(self.kits / name)
        processes = [process for process in self.family() if any(part.startswith(kit) for part in process.cmdline())]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=_END_SECONDS)
        self.processes.pop(name).wait(_END_SECONDS)

    def family(self) -> list[psutil.Process]:
        """Every process that was started here and what it started: they inherit a mark in the environment."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def listening(self) -> set[str]:
        """The addresses that the processes listen on."""
        connections = [connection for process in self.family() for connection in process.net_connections("inet")]
        return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}

    def tail(self, name: str) -> str:
        """The end of what the process of a kit has printed."""
        return self._console(name).read_text()[-8000:]

    def tails(self) -> str:
        """The end of what each process has printed."""
        return "\n".join(f"--- {name}\n{self.tail(name)}" for name in self.processes)

    def end(self) -> None:
        """End every process that was started here."""
        family = self.family()
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=_END_SECONDS)
        for process in self.processes.values():
            process.wait(_END_SECONDS)

    def wait_until_connected(self, sites: list[str]) -> None:
        """Wait until the sites have connected to the server; fail with what the processes printed."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and not self._has_ended_early():
            try:
                with Federation(self.lead, login_seconds=2) as federation:
                    while federation.connected_sites() != sorted(sites) and time.monotonic() < deadline:
                        time.sleep(0.5)
                    return
            except FedSwinError:
                time.sleep(0.5)
        raise AssertionError(f"The federation was not up after {_START_SECONDS} s.\n{self.tails()}")

    def _has_ended_early(self) -> bool:
        return any(process.poll() is not None for process in self.processes.values())

    def _console(self, name: str) -> Path:
        return self.kits / f"{name}.console.txt"

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self._mark
        except psutil.Error:
            return False


@contextmanager
def run_federation(
    folder: Path, sites: Mapping[str, Path], more_sites: Sequence[str] = ()
) -> Iterator[RunningFederation]:
    """Provision a federation below ``folder``, run its server and sites, and end them in any case.

    Args:
        folder: an empty folder.
        sites: each site's name and data folder.
        more_sites: sites that get a kit and are not started.
    """
    port = free_port()
    consortium = folder / "consortium.yaml"
    consortium.write_text(yaml.safe_dump(_consortium(port, [*sites, *more_sites])))
    provision(consortium, folder / "kits")
    federation = RunningFederation(folder / "kits", port)
    try:
        federation.start(SERVER)
        for name, data in sites.items():
            federation.start(name, **{SITE_DATA_VARIABLE: str(data)})
        federation.wait_until_connected(list(sites))
        yield federation
    finally:
        federation.end()


def _consortium(port: int, sites: list[str]) -> dict[str, object]:
    return {
        "study": "test_study",
        "server": {"host": "localhost", "port": port, "organization": "university"},
        "sites": [{"name": name, "organization": name} for name in sites],
        "people": [
            {"email": LEAD, "organization": "university", "role": "lead"},
            {"email": MEMBER, "organization": "university", "role": "member"},
        ],
    }


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
