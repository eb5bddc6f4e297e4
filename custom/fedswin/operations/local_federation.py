"""A real federation on this machine: kits, processes and mutual TLS, all on loopback, as the hospitals will have it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

from fedswin.data.datalist import site_folders
from fedswin.errors import FedSwinError
from fedswin.kits.consortium import SERVER, Consortium
from fedswin.kits.kit import survives_a_shell
from fedswin.kits.provision import provision
from fedswin.operations.admin import Federation, has_ended
from fedswin.operations.jobs import JobEntry, jobs_of
from fedswin.operations.kit_processes import (
    KITS,
    FederationRecord,
    KitProcesses,
    kit_environment,
    write_record,
)
from fedswin.output import staged
from fedswin.run_lock import lock_run
from fedswin.settings import parse_section

LEAD = "lead@localhost.org"
"""The person who submits jobs; the name of their kit."""

_CONSORTIUM = "consortium.yaml"
_HOST = "127.0.0.1"
_START_SECONDS = 60.0
_START_SECONDS_OF_A_SITE = 15.0
_LOGIN_SECONDS = 2.0
_ABORT_SECONDS = 30.0
_POLL_SECONDS = 0.5
_LAST_LINES = 15
_AFTER = "try again"


class FederationState(NamedTuple):
    """What there is of a federation on this machine.

    Attributes:
        folder: its folder.
        port: the server's port.
        processes: the process of each kit that runs.
        sites: the sites.
        connected: those that are connected to the server.
        jobs: the jobs that the server knows, the newest first.
        problem: why the server did not answer, or an empty string.
    """

    folder: Path
    port: int
    processes: Mapping[str, psutil.Process]
    sites: Sequence[str]
    connected: Sequence[str] = ()
    jobs: Sequence[JobEntry] = ()
    problem: str = ""

    @property
    def kit(self) -> Path:
        """The kit of the person who submits jobs."""
        return self.folder / KITS / LEAD

    @property
    def is_up(self) -> bool:
        """Whether the server and all sites run."""
        return len(self.processes) == len(self.sites) + 1

    def since(self, kit: str) -> str:
        """Return when the process of a kit started, or an empty string if it does not run."""
        with contextlib.suppress(KeyError, psutil.NoSuchProcess):
            started = datetime.fromtimestamp(self.processes[kit].create_time()).astimezone()
            return started.isoformat(timespec="seconds")
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as it goes into JSON."""
        return {
            "folder": str(self.folder),
            "state": "up" if self.is_up else "in part" if self.processes else "down",
            "port": self.port,
            "kit": str(self.kit),
            "processes": {
                kit: {"pid": process.pid, "since": self.since(kit)} for kit, process in self.processes.items()
            },
            "sites": list(self.sites),
            "connected": list(self.connected),
            "jobs": [job._asdict() for job in self.jobs],
            "problem": self.problem,
        }


def up(folder: Path, data: Path | None = None, *, count: int | None = None, port: int | None = None) -> bool:
    """Start a federation, and return when its sites are connected. Its processes outlive this one.

    One that is there already is started again with the kits, jobs and studies that it has; what runs is left alone.

    Args:
        folder: where its kits, logs and record are; it is made if it does not exist.
        data: the folder of the site folders. One that is there already knows its own.
        count: how many of the sites take part, in the order of their names; all by default.
        port: the server's port; by default one that is free, which it then keeps.

    Returns:
        Whether anything had to be started.

    Raises:
        FedSwinError: if something about the arguments is wrong, or if a process ends or the sites are not connected in
            time; then whatever was started has been ended.
    """
    sites = choose_sites(data, count) if data else None
    is_new = not folder.exists()
    if not is_new:
        _refuse_other(KitProcesses(folder).record(), folder, sites, count, port)
    elif sites is None:
        raise FedSwinError(f"{folder} does not exist. Give --data to make a federation there.")
    else:
        create(folder, sites, port=port)
    try:
        with lock_run(folder, after=_AFTER):
            return _start_missing(KitProcesses(folder), sites)
    except KeyboardInterrupt:
        if is_new:
            shutil.rmtree(folder)
        raise


def down(folder: Path) -> list[JobEntry]:
    """End the processes that `up` has started, and what they have started, and nothing else.

    Jobs that run or wait are aborted first, so that none of them seems to run for ever. Their studies can be resumed.

    Args:
        folder: the folder of the federation.

    Returns:
        The jobs that had not ended.

    Raises:
        FedSwinError: if there is no federation, or it is just being started or ended.
    """
    processes = KitProcesses(folder)
    processes.record()
    with lock_run(folder, after=_AFTER):
        try:
            return _abort_jobs(processes) if SERVER in processes.running() else []
        finally:
            processes.end()


def local_state(folder: Path) -> FederationState:
    """Return which processes of a federation run, without asking its server.

    Raises:
        FedSwinError: if there is none at ``folder``.
    """
    processes = KitProcesses(folder)
    record = processes.record()
    return FederationState(processes.folder, record.port, processes.running(), list(record.sites))


def status(folder: Path) -> FederationState:
    """Return what there is of a federation: processes, connected sites, jobs.

    Raises:
        FedSwinError: if there is none at ``folder``.
    """
    state = local_state(folder)
    if SERVER not in state.processes:
        return state
    try:
        with Federation(state.kit) as session:
            return state._replace(connected=session.connected_sites(), jobs=jobs_of(session))
    except FedSwinError as error:
        return state._replace(problem=str(error))


def choose_sites(data: Path, count: int | None = None) -> dict[str, Path]:
    """Return ``{name: folder}`` of the first ``count`` site folders in ``data``, or of the one that it is.

    Raises:
        FedSwinError: if there are not so many.
    """
    found = site_folders(data)
    if count is not None and count > len(found):
        raise FedSwinError(f"{data} has {len(found)} sites, {', '.join(found)}, and --sites asks for {count}.")
    return {name: found[name].absolute() for name in list(found)[:count]}


def create(
    folder: Path,
    sites: Mapping[str, Path],
    *,
    port: int | None = None,
    people: Iterable[dict[str, str]] = (),
    code_in_jobs: bool = False,
) -> KitProcesses:
    """Make the folder of a federation, with kits and a record of it; nothing is started.

    Args:
        folder: the folder; it appears whole or not at all.
        sites: the name and the data folder of each site.
        port: the server's port; by default one that is free.
        people: who has a kit beside the lead, as in a consortium's file.
        code_in_jobs: as in a consortium's file.

    Raises:
        FedSwinError: if the folder's path or a site's name is none that NVFlare takes, or the port is in use.
    """
    _refuse_path(folder)
    if port is None:
        port = _free_port()
    elif not is_free(port):
        raise FedSwinError(f"Port {port} is in use by another process. Choose another, or none to have one found.")
    consortium = {**_consortium(port, list(sites), people), "code_in_jobs": code_in_jobs}
    parse_section(Consortium, consortium, f"The federation for {', '.join(sites)}")
    with staged(folder) as new:
        (new / _CONSORTIUM).write_text(yaml.safe_dump(consortium, sort_keys=False))
        provision(new / _CONSORTIUM, new / KITS)
        write_record(new, FederationRecord(port=port, sites=dict(sites)))
        if folder.exists():
            raise FedSwinError(f"Another process has made {folder} meanwhile. Use it, or choose another --out.")
    return KitProcesses(folder)


def start(processes: KitProcesses, kits: Sequence[str]) -> None:
    """Start the processes of kits, and wait until every site among them is connected.

    Raises:
        FedSwinError: if one of them ends or is not connected in time; then all of them have been ended.
    """
    record = processes.record()
    try:
        for kit in kits:
            processes.kill(kit)  # what is left of the jobs of one that died would keep its site's data and memory busy
            processes.start(kit, kit_environment(record, kit))
        wait_until_connected(processes, kits)
    except BaseException:
        for kit in kits:
            processes.kill(kit)
        raise


def wait_until_connected(processes: KitProcesses, kits: Sequence[str]) -> None:
    """Wait until the server answers and all sites among ``kits`` are connected to it.

    Raises:
        FedSwinError: if the process of one of them ends, or it takes too long, with what that one printed last.
    """
    seconds = _START_SECONDS + _START_SECONDS_OF_A_SITE * len(kits)
    deadline = time.monotonic() + seconds
    while absent := _absent(processes, kits):
        running = processes.running()
        if ended := [kit for kit in kits if kit not in running]:
            raise _start_error(processes, ended[0], "ended")
        if time.monotonic() > deadline:
            raise _start_error(processes, absent[0], f"was not ready after {seconds:g} s")
        time.sleep(_POLL_SECONDS)


def is_free(port: int) -> bool:
    """Tell whether no process listens on a port of this machine's loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _start_missing(processes: KitProcesses, sites: Mapping[str, Path] | None) -> bool:
    record, running = processes.record(), processes.running()
    if sites and sites != record.sites:
        if running:
            raise FedSwinError(
                f"{processes.folder} is up, with data from elsewhere. Take it down before it gets others."
            )
        write_record(processes.folder, record.model_copy(update={"sites": dict(sites)}))
    missing = [kit for kit in (SERVER, *record.sites) if kit not in running]
    if SERVER in missing and not is_free(record.port):
        raise FedSwinError(
            f"Port {record.port}, which the kits in {processes.folder} name, is in use by another process. End that "
            "one, or make a new federation with another --out."
        )
    if missing:
        start(processes, missing)
    return bool(missing)


def _abort_jobs(processes: KitProcesses) -> list[JobEntry]:
    """Abort the jobs that have not ended, as far as the server answers, and return them."""
    under_way: list[JobEntry] = []
    with contextlib.suppress(FedSwinError), Federation(processes.kits / LEAD) as session:
        under_way += [job for job in jobs_of(session) if not has_ended(job._asdict())]
        for job in under_way:
            session.abort(job.id)
        for job in under_way:
            session.wait(job.id, _ABORT_SECONDS)
    return under_way


def _absent(processes: KitProcesses, kits: Sequence[str]) -> list[str]:
    """Return which of ``kits`` are not ready: all of them while the server does not answer."""
    try:
        with Federation(processes.kits / LEAD, login_seconds=_LOGIN_SECONDS) as session:
            connected = session.connected_sites()
    except FedSwinError:
        return [SERVER, *kits]
    return [kit for kit in kits if kit not in (SERVER, *connected)]


def _start_error(processes: KitProcesses, kit: str, what: str) -> FedSwinError:
    log = processes.log(kit)
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return FedSwinError(
        f"The process of {kit} {what}, so what was started has been ended. It printed last, in {log}:\n"
        + "\n".join(lines)
    )


def _refuse_other(
    record: FederationRecord, folder: Path, sites: Mapping[str, Path] | None, count: int | None, port: int | None
) -> None:
    """Raise if the arguments of `up` ask for another federation than the one that is there."""
    wanted = len(record.sites) if count is None else count
    if (sites is not None and list(sites) != list(record.sites)) or wanted != len(record.sites):
        raise FedSwinError(
            f"{folder} is a federation of {', '.join(record.sites)}. Leave --data and --sites out to start it, or "
            "choose another --out for other sites."
        )
    if port not in (None, record.port):
        raise FedSwinError(
            f"The kits in {folder} name port {record.port}. Leave --port out to start them, or choose another --out."
        )


def _refuse_path(folder: Path) -> None:
    path = str(folder.resolve())
    if not survives_a_shell(path):
        raise FedSwinError(
            f"{path}: NVFlare cannot start jobs below a path with spaces, quotes or backslashes. Choose another --out."
        )


def _consortium(port: int, sites: Sequence[str], people: Iterable[dict[str, str]]) -> dict[str, Any]:
    return {
        "study": "local_federation",
        "server": {"host": "localhost", "port": port, "organization": "localhost"},
        "sites": [{"name": name, "organization": "localhost"} for name in sites],
        "people": [{"email": LEAD, "organization": "localhost", "role": "lead"}, *people],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
