"""The lock of a run against real processes: alive, killed, and survived by a child."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedswin.errors import FedSwinError
from fedswin.run_lock import LOCK, lock_run, lock_runs

HOLD = """
import subprocess, sys, time
from pathlib import Path
from fedswin.run_lock import lock_run
run, *child = sys.argv[1:]
with lock_run(Path(run)) as lock:
    print(subprocess.Popen(child, pass_fds=[lock.fileno()]).pid if child else "no child", flush=True)
    time.sleep(60)
"""

Hold = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "a run"


@pytest.fixture
def hold(run: Path) -> Iterator[Hold]:
    """Start a process that holds the lock, with a child that has inherited it; return it and what it says."""
    with ExitStack() as started:

        def start(*child: str) -> tuple[subprocess.Popen[str], str]:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            command = [sys.executable, "-c", HOLD, str(run), *child]
            holder = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            started.enter_context(holder)
            started.callback(holder.kill)
            assert holder.stdout
            return holder, holder.stdout.readline()

        yield start


def test_a_second_writer_is_told_at_once_who_the_first_is(run: Path, hold: Hold) -> None:
    holder, _ = hold()
    before = time.monotonic()
    with pytest.raises(FedSwinError) as raised, lock_run(run):
        pass
    assert time.monotonic() - before < 5
    said = str(raised.value)
    assert said.startswith(f"{run} is being written by process {holder.pid}, which started at ")
    assert said.endswith(". Wait for it, or end it and use --resume.")
    started = datetime.fromisoformat(said.split("started at ")[1].split(". Wait")[0])
    assert abs(started - datetime.now().astimezone()) < timedelta(minutes=1)
    with pytest.raises(FedSwinError, match=f"process {holder.pid}"), lock_runs(run.parent):
        pass


def test_the_lock_of_a_killed_writer_is_free_at_once(run: Path, hold: Hold) -> None:
    holder, _ = hold()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with lock_run(run, patience=0):
        assert json.loads((run / LOCK).read_text())["pid"] == os.getpid()


def test_what_a_killed_writer_left_behind_is_waited_for(run: Path, hold: Hold) -> None:
    holder, pid = hold("sleep", "2")
    child = psutil.Process(int(pid))
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it has died, and stays a zombie
    with pytest.raises(FedSwinError, match="a process that an earlier run has left behind"), lock_run(run, patience=0):
        pass
    assert child.status() != psutil.STATUS_ZOMBIE
    with lock_run(run):
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_lock_is_free_after_the_block_and_its_file_stays(run: Path) -> None:
    with lock_run(run), pytest.raises(FedSwinError, match=f"process {os.getpid()}"), lock_run(run):
        pass
    with pytest.raises(KeyError), lock_run(run):
        raise KeyError
    assert (run / LOCK).exists()
    with lock_run(run), lock_runs(run.parent / "another run"):
        pass


def test_a_lock_that_is_deleted_with_its_run_is_not_the_lock_of_the_next_run(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is replaced in the moment between opening the file and locking it."""
    really_lock, calls = fcntl.flock, []

    def lock(file: Any, operation: int) -> None:
        if not calls:
            shutil.rmtree(run)
            run.mkdir()
        calls.append(operation)
        really_lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    with lock_run(run) as held:
        assert os.path.samestat(os.fstat(held.fileno()), (run / LOCK).stat())
        with pytest.raises(FedSwinError, match="is being written"), lock_run(run):
            pass
