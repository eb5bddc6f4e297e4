"""Start the process of a kit: this process becomes NVFlare's, so that who started it has one to watch and end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil

from fedswin.errors import FedSwinError
from fedswin.kits.check.context import Context
from fedswin.kits.check.run import SERVER_START, SITE_START, run_checks
from fedswin.kits.environment import read_environment
from fedswin.kits.kit import Kit, read_kit
from fedswin.run_lock import lock_run

CONSOLE = "console.txt"
"""What the process prints, in the kit; its log is beside it, and holds more."""

_MODULES = {
    "site": "nvflare.private.fed.app.client.client_train",
    "server": "nvflare.private.fed.app.server.server_train",
}


def start(folder: Path, say: Callable[[str], None]) -> NoReturn:
    """Check what can stop a start, and become the process of a kit. It runs until it is ended.

    Args:
        folder: the kit of a site or of the server.
        say: called with the one line that the user is told.

    Raises:
        FedSwinError: if a check finds an error, or the kit's process runs already.
    """
    kit = read_kit(folder)
    _refuse_faults(kit)
    environment = {"MALLOC_ARENA_MAX": "4", **read_environment(kit.local), **os.environ}
    with lock_run(kit.folder, advice="End it first, for a kit has one process.") as lock:
        _refuse_second(kit)
        os.set_inheritable(lock.fileno(), True)  # the process and its jobs hold the lock until the last has ended
        say(f"{kit.name} runs until it is ended, with Ctrl-C or SIGTERM. Its log is {kit.folder / 'log.txt'}")
        _become(command(kit), environment, kit.folder)


def command(kit: Kit) -> list[str]:
    """Return the line by which the kit's ``sub_start.sh --once`` starts NVFlare, run by `fedswin.kits.process`."""
    who = [f"uid={kit.name}"] if kit.role == "site" else []
    settings = ["secure_train=true", *who, f"org={kit.organization}", "config_folder=config"]
    arguments = ["-m", str(kit.folder), "-s", kit.configuration, "--set", *settings]
    return [sys.executable, "-u", "-m", "fedswin.kits.process", _MODULES[kit.role], *arguments]


def _refuse_faults(kit: Kit) -> None:
    checks = SITE_START if kit.role == "site" else SERVER_START
    faults = [result for result in run_checks(checks, Context(kit)) if result.state == "error"]
    if faults:
        lines = "".join(f"\n- {fault}" for fault in faults)
        raise FedSwinError(f"{kit.folder} is not started; errors found: {len(faults)}.{lines}")


def _refuse_second(kit: Kit) -> None:
    """Refuse if the kit's own scripts have started its process: they do not hold the lock."""
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if _MODULES[kit.role] in arguments and _workspace(arguments) == kit.folder:
            raise FedSwinError(f"{kit.folder}: its process runs already, with the id {process.pid}. End it first.")


def _workspace(arguments: list[str]) -> Path:
    """Return the folder on a command line of NVFlare: the last ``-m``, since the first names the module."""
    last = len(arguments) - 1 - arguments[::-1].index("-m")
    return Path(*arguments[last + 1 : last + 2])


def _become(command: list[str], environment: dict[str, str], folder: Path) -> NoReturn:
    """Replace this process. What it prints goes to a file, and its log there, too."""
    sys.stdout.flush()
    with (folder / CONSOLE).open("wb") as console:
        for stream in (1, 2):
            os.dup2(console.fileno(), stream)
    os.chdir(folder)
    os.execve(command[0], command, environment)
