"""The processes of a federation whose kits are all on this machine: started, known again later, and ended.

``federation.json`` says which process each kit was started as. What counts is the mark that it, and all that it starts,
has in its environment: it is the kit's folder, so that no other process is taken for one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
from pydantic import Field

from fedswin.durable import write_text_whole
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.kits.consortium import SERVER
from fedswin.operations.process_family import MARK_VARIABLE, end_family, family
from fedswin.settings import Section, parse_section

FEDERATION = "federation.json"
"""The record of a federation, in its folder."""
KITS = "kits"
"""The kits, as `fedswin.kits.provision` lays them out."""
LOGS = "logs"
"""What the processes print, a file for each kit."""

_SAME_START_SECONDS = 2.0  # a start is measured from the boot, whose time of day moves when the clock is set


class StartedProcess(Section):
    """Which process a kit was started as."""

    pid: int
    started: float
    """Seconds since the epoch; another process may have the number later."""


class FederationRecord(Section):
    """What ``federation.json`` keeps."""

    port: int
    sites: dict[str, Path]
    """Each site's data folder."""
    processes: dict[str, StartedProcess] = Field(default_factory=dict)


class KitProcesses:
    """The processes of the kits in ``folder/kits``.

    Args:
        folder: the folder of the federation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def kits(self) -> Path:
        """The folder of the kits."""
        return self.folder / KITS

    def log(self, kit: str) -> Path:
        """Return the file that the process of a kit prints to."""
        return self.folder / LOGS / f"{kit}.log"

    def record(self) -> FederationRecord:
        """Return what is kept of the federation.

        Raises:
            FedSwinError: if ``folder`` is none of a federation.
        """
        path = self.folder / FEDERATION
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            raise FedSwinError(
                f"{self.folder} is no federation: it has no readable {FEDERATION}. Give the folder that was --out of "
                "'fedswin federation up'."
            ) from None
        return parse_section(FederationRecord, content, str(path))

    def start(self, kit: str, environment: Mapping[str, str]) -> None:
        """Start the process of a kit; it outlives this one.

        Args:
            kit: the kit's name.
            environment: what its environment holds; the mark is added.
        """
        self.log(kit).parent.mkdir(exist_ok=True)
        with self.log(kit).open("ab") as log:
            child = subprocess.Popen(
                [str(self.kits / kit / "startup" / "sub_start.sh"), "--once"],
                env={**environment, MARK_VARIABLE: self._mark(kit)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that Ctrl-C and the end of the shell do not reach it
            )
        self._children.append(child)
        record = self.record()
        started = StartedProcess(pid=child.pid, started=psutil.Process(child.pid).create_time())
        processes = {**record.processes, kit: started}
        write_record(self.folder, record.model_copy(update={"processes": processes}))

    def running(self) -> dict[str, psutil.Process]:
        """Return the process of each kit that runs."""
        members = {process.pid: process for process in self.family()}
        return {
            kit: members[known.pid]
            for kit, known in self.record().processes.items()
            if known.pid in members and _started_at(members[known.pid], known.started)
        }

    def family(self) -> list[psutil.Process]:
        """Return every process that was started here, and what it started."""
        return family(*self._marks())

    def kill(self, kit: str) -> None:
        """End the process of a kit, those of its jobs, and what these have started, all at once."""
        self._end(self._mark(kit))

    def end(self) -> None:
        """End every process that was started here, and what it started, all at once."""
        self._end(*self._marks())

    def _end(self, *marks: str) -> None:
        end_family(*marks)
        for child in self._children:
            child.poll()

    def _marks(self) -> list[str]:
        return [self._mark(kit) for kit in (SERVER, *self.record().sites)]

    def _mark(self, kit: str) -> str:
        return str(self.kits / kit)


def write_record(folder: Path, record: FederationRecord) -> None:
    """Write ``folder/federation.json``, which is whole at any time."""
    write_text_whole(folder / FEDERATION, f"{record.model_dump_json(indent=2)}\n")


def kit_environment(record: FederationRecord, kit: str) -> dict[str, str]:
    """Return the environment for the process of a kit: its data, if it is a site, and its share of the machine.

    GPUs are out of sight unless the environment shows some by ``CUDA_VISIBLE_DEVICES``.
    """
    environment = {
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_ARENA_MAX": "1",  # the training thread shares the one heap that keep_freed_memory looks after
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(record.sites))),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    for name in (messages.SITE_DATA_VARIABLE, messages.STUDIES_VARIABLE, messages.RUN_VARIABLE):
        environment.pop(name, None)  # meant for one process, and not for all of these
    if kit in record.sites:
        environment[messages.SITE_DATA_VARIABLE] = str(record.sites[kit])
    return environment


def _started_at(process: psutil.Process, seconds: float) -> bool:
    try:
        return abs(process.create_time() - seconds) < _SAME_START_SECONDS
    except psutil.NoSuchProcess:
        return False
