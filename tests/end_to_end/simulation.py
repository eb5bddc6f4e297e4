"""``fedswin simulate`` as a process of its own, for tests that do something to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from fedswin.config import Job

_MARK = "FEDSWIN_TEST_SIMULATION"
_COMMAND = [sys.executable, "-c", "from fedswin.cli import main; main()", "simulate"]


class RunningSimulation:
    """Starts ``fedswin simulate`` and finds its processes; a context manager that leaves none behind.

    Args:
        job: the job.
        data: the folder of the site folders.
        out: the run folder.
        options: more options of the command.
        environment: more environment variables, for it and all that it starts.
    """

    def __init__(
        self, job: Job, data: Path, out: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._mark = uuid.uuid4().hex
        job_file = out.with_name(f"{out.name}.job.yaml")
        job_file.write_text(job.to_yaml())
        self.out = out
        self._console = out.with_name(f"{out.name}.console.txt")
        with self._console.open("a") as console:
            self.process = subprocess.Popen(
                [*_COMMAND, str(job_file), "--data", str(data), "--out", str(out), *options],
                env={**os.environ, **(environment or {}), _MARK: self._mark},
                stdout=console,
                stderr=console,
            )

    def __enter__(self) -> RunningSimulation:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.family():
            process.kill()
        self.process.wait()

    def family(self) -> list[psutil.Process]:
        """Every process of the simulation that runs, the command itself among them."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def site(self, name: str) -> psutil.Process:
        """The process of a site."""
        return next(process for process in self._workers() if _argument(process, "--client") == name)

    def server(self) -> psutil.Process:
        """The process of NVFlare's simulator, in which the server runs."""
        return psutil.Process(int(_argument(next(self._workers()), "--parent_pid")))

    def wait_for(self, happened: Callable[[], bool], what: str, seconds: float = 600.0) -> None:
        """Wait until something has happened; fail with what the command printed if it does not."""
        deadline = time.monotonic() + seconds
        while not happened():
            is_late = time.monotonic() > deadline or self.process.poll() is not None
            assert not is_late, f"no {what}:\n{self.printed()}"
            time.sleep(0.05)

    def finish(self, seconds: float = 600.0) -> int:
        """Wait for the command to end, and return its exit code."""
        return self.process.wait(seconds)

    def printed(self) -> str:
        """What the command has printed, and the end of what the simulator has."""
        logs = sorted(self.out.glob("nvflare/segment*/console.log"))
        return self._console.read_text() + "".join(log.read_text()[-6000:] for log in logs[-1:])

    def _workers(self) -> Iterator[psutil.Process]:
        return (process for process in self.family() if "--client" in process.cmdline())

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == self._mark
        except psutil.Error:
            return False


def _argument(process: psutil.Process, option: str) -> str:
    arguments = process.cmdline()
    return arguments[arguments.index(option) + 1]
