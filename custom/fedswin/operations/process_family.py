"""Processes that belong together: NVFlare puts them in sessions of their own, so a mark tells them."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Sequence

import psutil

MARK_VARIABLE = "FEDSWIN_FAMILY"
"""Environment variable that every process of a simulation, or of a federation on this machine, inherits."""

_POLL_SECONDS = 0.05
_GONE_SECONDS = 30.0


def new_mark() -> str:
    """Return a value of `MARK_VARIABLE` that no other process has."""
    return uuid.uuid4().hex


def family(*marks: str) -> list[psutil.Process]:
    """Return the processes that carry one of ``marks``, without this one."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _carries(process, marks)]


def end_family(*marks: str) -> None:
    """Kill every process that carries one of ``marks``, by default this one's, without this one.

    They end whether or not the one that started them still lives.
    """
    marks = marks or (os.environ[MARK_VARIABLE],)
    while members := family(*marks):  # again, for one of them may just have started another
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        time.sleep(_POLL_SECONDS)  # and not until its parent has taken note, which may be slow


class SiteProcesses:
    """The processes of a simulation's sites, as NVFlare names them on their command lines.

    Args:
        mark: the mark of the simulation.
        sites: the names of the sites.
    """

    def __init__(self, mark: str, sites: Sequence[str]) -> None:
        self._mark = mark
        self._sites = sites
        self._processes: dict[str, psutil.Process] = {}
        self._gone_since: dict[str, float] = {}

    def update(self) -> None:
        """Look which processes run."""
        if len(self._processes) < len(self._sites):
            self._processes |= {_site_of(process): process for process in family(self._mark)}
            self._processes.pop("", None)
        for site, process in self._processes.items():
            if not _runs(process):
                self._gone_since.setdefault(site, time.monotonic())

    @property
    def gone(self) -> list[str]:
        """The sites whose process ended a while ago; at the end of a study the simulator itself ends before that."""
        now = time.monotonic()
        return sorted(site for site, since in self._gone_since.items() if now - since > _GONE_SECONDS)


def _site_of(process: psutil.Process) -> str:
    """Return the name of the site that a process of NVFlare's simulator runs, or an empty string for any other."""
    try:
        arguments = process.cmdline()
    except psutil.Error:
        return ""
    return arguments[arguments.index("--client") + 1] if "--client" in arguments else ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _carries(process: psutil.Process, marks: Sequence[str]) -> bool:
    try:
        return _runs(process) and process.environ().get(MARK_VARIABLE) in marks
    except psutil.Error:
        return False
