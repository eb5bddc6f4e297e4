"""A site that `fedswin site start` runs: it connects, trains, and when it is ended nothing of it is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from end_to_end.federation import RunningFederation, run_federation
from end_to_end.tiny import PRETRAIN, job, write_sites
from fedswin.kits.check.full import check_kit
from fedswin.operations.admin import Federation
from fedswin.operations.submit import submit
from fedswin.weights.handover import initial_state

SITE = "hospital_a"
SECONDS = 120.0
END_SECONDS = 10.0
FEDSWIN = [sys.executable, "-c", "from fedswin.cli import main; main()"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]


def test_a_site_is_checked_started_and_ended_and_an_altered_one_is_refused(tmp_path: Path) -> None:
    data = write_sites(tmp_path / "data", {SITE: 2}) / SITE
    with run_federation(tmp_path, {}, [SITE]) as federation:
        kit = federation.kits / SITE
        (kit / "local" / "site.yaml").write_text(f"data: {data}\n")
        assert errors(kit) == []

        site = federation.run(SITE, [*FEDSWIN, "site", "start", str(kit)], FEDSWIN_SITE_DATA=str(data))
        wait_until(lambda: is_connected(federation), federation)
        (line,) = federation.tail(SITE).splitlines()
        assert f"The log is {kit / 'log.txt'}" in line
        check_refused(kit, "is being written by process")

        start_job(federation)
        site.send_signal(signal.SIGTERM)
        assert site.wait(END_SECONDS) == -signal.SIGTERM
        assert running(federation) == []

        (kit / "startup" / "stop_fl.sh").write_text("rm -rf /")
        assert errors(kit) == ["startup/stop_fl.sh was altered"]
        check_refused(kit, "startup/stop_fl.sh was altered")
        script = federation.run(SITE, [str(kit / "startup" / "sub_start.sh"), "--once"])
        assert script.wait(SECONDS) != 0
        assert "startup/stop_fl.sh was altered" in federation.tail(SITE)


def errors(kit: Path) -> list[str]:
    return [result.found for result in check_kit(kit) if result.state == "error"]


def check_refused(kit: Path, reason: str) -> None:
    refused = subprocess.run([*FEDSWIN, "site", "start", str(kit)], capture_output=True, text=True, timeout=SECONDS)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert reason in refused.stderr


def start_job(federation: RunningFederation) -> None:
    """Submit a job that trains for long, and wait until it does at the site."""
    endless = job(PRETRAIN | {"federation": {"rounds": 1, "local_steps": 100_000, "min_sites": 1}})
    identity = submit(endless, initial_state(endless), federation.lead).job_id
    kept = federation.kits / SITE / "studies" / identity / "sites" / SITE / "lock.json"
    wait_until(kept.exists, federation)
    assert len(running(federation)) == 2


def is_connected(federation: RunningFederation) -> bool:
    with Federation(federation.lead) as session:
        return session.connected_sites() == [SITE]


def wait_until(condition: Callable[[], bool], federation: RunningFederation) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, federation.tail(SITE)
        time.sleep(0.5)


def running(federation: RunningFederation) -> list[psutil.Process]:
    """The processes of the site's kit."""
    return [process for process in federation.family() if str(federation.kits / SITE) in process.cmdline()]
