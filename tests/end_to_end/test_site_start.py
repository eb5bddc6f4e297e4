"""A site that `fedswin site start` runs: it connects, trains, and when it is ended nothing of it is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from end_to_end.federation import RunningFederation, run_federation
from end_to_end.tiny import PRETRAIN, job, write_sites
from fedswin.kits.check.full import check_kit
from fedswin.operations.submit import submit
from fedswin.weights.handover import initial_state

SITE = "hospital_a"
JOB_SECONDS = 120.0
END_SECONDS = 10.0
FEDSWIN = [sys.executable, "-c", "from fedswin.cli import main; main()"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]


def test_a_site_is_checked_started_and_ended_and_an_altered_one_is_refused(tmp_path: Path) -> None:
    data = write_sites(tmp_path / "data", {SITE: 2})
    with run_federation(tmp_path, {}, [SITE]) as federation:
        kit = federation.kits / SITE
        (kit / "local" / "site.yaml").write_text(f"data: {data / SITE}\n")
        assert [result for result in check_kit(kit) if result.state == "error"] == []

        federation.run(SITE, [*FEDSWIN, "site", "start", str(kit)])
        federation.wait_until_connected([SITE])
        assert f"The log is {kit / 'log.txt'}" in federation.tail(SITE)
        assert len(federation.tail(SITE).splitlines()) == 1
        check_refused(kit, "is being written by process")

        start_job(federation)
        site = federation.processes[SITE]
        site.send_signal(signal.SIGTERM)
        assert site.wait(END_SECONDS) == -signal.SIGTERM
        assert running(federation, kit) == []

        (kit / "startup" / "stop_fl.sh").write_text("rm -rf /")
        assert [result.found for result in check_kit(kit) if result.state == "error"] == [
            "startup/stop_fl.sh was altered"
        ]
        check_refused(kit, "startup/stop_fl.sh was altered")
        federation.start(SITE)
        assert federation.processes[SITE].wait(JOB_SECONDS) != 0
        assert "startup/stop_fl.sh was altered" in federation.tail(SITE)


def check_refused(kit: Path, reason: str) -> None:
    refused = subprocess.run([*FEDSWIN, "site", "start", str(kit)], capture_output=True, text=True, timeout=JOB_SECONDS)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert reason in refused.stderr


def start_job(federation: RunningFederation) -> None:
    """Submit a job that trains for long, and wait until the site has a process for it."""
    endless = job(PRETRAIN | {"federation": {"rounds": 1, "local_steps": 100_000, "min_sites": 1}})
    identity = submit(endless, initial_state(endless), federation.lead)
    state = federation.kits / SITE / "studies" / identity / "sites" / SITE / "lock.json"
    deadline = time.monotonic() + JOB_SECONDS
    while not state.exists():
        assert time.monotonic() < deadline, federation.tails()
        time.sleep(0.2)
    assert len(running(federation, federation.kits / SITE)) == 2


def running(federation: RunningFederation, kit: Path) -> list[psutil.Process]:
    """The processes of a kit."""
    return [process for process in federation.family() if str(kit) in process.cmdline()]
