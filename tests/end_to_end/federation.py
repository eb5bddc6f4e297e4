"""A federation on this machine, made as ``fedswin federation up`` makes it, for tests that do something to it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from fedswin.federation.site_policy import SITE_POLICY
from fedswin.kits.consortium import SERVER
from fedswin.operations import local_federation
from fedswin.operations.admin import Federation
from fedswin.operations.kit_processes import KitProcesses, kit_environment
from fedswin.operations.process_family import MARK_VARIABLE

LEAD = local_federation.LEAD
MEMBER = "member@university.org"
ADMIN = "admin@university.org"
_PEOPLE = (
    {"email": MEMBER, "organization": "university", "role": "member"},
    {"email": ADMIN, "organization": "university", "role": "project_admin"},
)


class RunningFederation:
    """What a test may ask of a federation that runs.

    Attributes:
        kits: the folder of the kits.
        port: the server's port.
    """

    def __init__(self, processes: KitProcesses) -> None:
        self.kits = processes.kits
        self.port = processes.record().port
        self._processes = processes

    @property
    def lead(self) -> Path:
        """The kit of a person who may do everything with jobs."""
        return self.kits / LEAD

    def start(self, name: str, **environment: str) -> None:
        """Start the process of the kit ``name``, with something more in its environment."""
        self._processes.start(name, {**kit_environment(self._processes.record(), name), **environment})

    def run(self, name: str, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """Run ``command`` as the process of the kit ``name``; it counts among those that were started here."""
        env = {**kit_environment(self._processes.record(), name), **environment, MARK_VARIABLE: str(self.kits / name)}
        with self._processes.log(name).open("wb") as log:
            return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)

    def wait_until_connected(self, sites: Sequence[str]) -> None:
        """Wait until the sites have connected to the server; fail with what one of the processes printed."""
        local_federation.wait_until_connected(self._processes, [SERVER, *sites])

    def ended(self, job_id: str, timeout: float) -> str:
        """Wait until a job has ended, and return its state, of which COMPLETED is the good one."""
        with Federation(self.lead) as session:
            return str(session.wait(job_id, timeout)["status"])

    def kill(self, name: str) -> None:
        """Kill the process of the kit ``name``, and what it has started, all at once."""
        self._processes.kill(name)

    def end(self) -> None:
        """End every process that was started here."""
        self._processes.end()

    def family(self) -> list[psutil.Process]:
        """Every process that was started here and what it started."""
        return self._processes.family()

    def listening(self) -> set[str]:
        """The addresses that the processes listen on."""
        connections = [connection for process in self.family() for connection in process.net_connections("inet")]
        return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}

    def tail(self, name: str) -> str:
        """The end of what the process of a kit has printed."""
        return self._processes.log(name).read_text()[-8000:]

    def tails(self) -> str:
        """The end of what each process has printed."""
        return "\n".join(f"--- {name}\n{self.tail(name)}" for name in self._processes.record().processes)


@contextmanager
def run_federation(
    folder: Path,
    sites: Mapping[str, Path],
    more_sites: Sequence[str] = (),
    *,
    code_in_jobs: bool = False,
    policies: Mapping[str, str] | None = None,
) -> Iterator[RunningFederation]:
    """Make a federation below ``folder``, run its server and sites, and end them in any case.

    Args:
        folder: an empty folder.
        sites: each site's name and data folder.
        more_sites: sites that get a kit and are not started; a test that starts one says where its data are.
        code_in_jobs: whether the lead may send code with a job.
        policies: the text of ``site.yaml`` of some of the sites.
    """
    at = folder / "federation"
    processes = local_federation.create(
        at, {**sites, **dict.fromkeys(more_sites, folder)}, people=_PEOPLE, code_in_jobs=code_in_jobs
    )
    for name, policy in (policies or {}).items():
        (processes.kits / name / SITE_POLICY).write_text(policy)
    federation = RunningFederation(processes)
    try:
        for name in (SERVER, *sites):
            federation.start(name)
        federation.wait_until_connected(list(sites))
        yield federation
    finally:
        federation.end()
