"""A process that watches its parent ends with it, and not before."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

_CHILD = "import os, sys, time; from fedswin.process_watch import end_with_parent; end_with_parent({parent}); {then}"
_PARENT = """
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def pair():
    """A parent that sleeps, and its child, in a session of its own, that watches it and never comes back to Python."""
    code = _CHILD.format(parent="os.getppid()", then="print('watching', flush=True); time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(_PARENT), code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    assert parent.stdout.readline() == "watching\n"
    yield parent, child
    for process in (parent, child):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    parent.wait()
    parent.stdout.close()


def test_it_is_gone_soon_after_its_parent_was_killed(pair) -> None:
    parent, child = pair
    time.sleep(1.5)
    assert child.is_running()
    parent.kill()
    parent.wait()
    child.wait(timeout=10)


def test_it_ends_at_once_if_its_parent_had_died_before() -> None:
    code = _CHILD.format(parent="os.getppid() + 1", then="time.sleep(60)")
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == -9
