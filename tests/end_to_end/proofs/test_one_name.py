"""Two processes under one name: a site's kit that was copied connects while a job runs at that site."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from end_to_end.federation import RunningFederation, run_federation
from end_to_end.proofs.captured import messages, watch
from end_to_end.proofs.conftest import JOB_SECONDS, JOBS, SITES, Study, WatchedFederation, timeless
from fedswin.operations.fetch import fetch
from fedswin.operations.process_family import MARK_VARIABLE
from fedswin.operations.submit import submit
from fedswin.records import read_records
from fedswin.weights.file import load_weights
from fedswin.weights.handover import initial_state

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

NAME, COPY = "hospital_a", "copy"
REASON = "another process has taken this site's name"


def test_the_job_goes_on_with_the_first_and_the_second_trains_nothing(
    federation: WatchedFederation, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first can no longer say that its process has ended; the server would wait for that for a quarter of an hour.
    monkeypatch.setenv("NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT", "5")
    with run_federation(tmp_path, {}, [*SITES, COPY]) as running:
        for site in SITES:
            start(running, site, federation.data / site, tmp_path)
        running.wait_until_connected(list(SITES))
        shutil.rmtree(running.kits / COPY)
        shutil.copytree(running.kits / NAME, running.kits / COPY)
        captured = tmp_path / "captured" / NAME
        (captured / "hold").touch()
        job_id = submit(JOBS["pretrain"], initial_state(JOBS["pretrain"]), running.lead).job_id
        wait_until((captured / "held").exists, running)

        start(running, COPY, federation.data / NAME, tmp_path)
        wait_until(lambda: f"{NAME} already registered. Re-login" in running.tail("server"), running)
        assert [kit_of(process) for process in trainers(running)] == list(SITES)
        (captured / "hold").unlink()
        fetch(job_id, running.lead, tmp_path / "run", wait=True, timeout=JOB_SECONDS)

        wait_until(lambda: any(REASON in running.tail(kit) for kit in (NAME, COPY)), running)
        assert not (running.kits / COPY / job_id).exists()
        assert not (running.kits / COPY / "studies").exists()
        assert [message.task for message in messages(tmp_path / "captured" / COPY) if message.task] == []

    assert timeless(read_records(tmp_path / "run")) == timeless(read_records(study.runs["pretrain"]))
    ended, undisturbed = (
        load_weights(run / "global" / "last.pt") for run in (tmp_path / "run", study.runs["pretrain"])
    )
    assert ended.digest == undisturbed.digest


def start(running: RunningFederation, kit: str, data: Path, folder: Path) -> None:
    running.start(kit, FEDSWIN_SITE_DATA=str(data), **watch(folder / "captured" / kit))


def trainers(running: RunningFederation) -> list[psutil.Process]:
    """The trainers' processes, by kit."""
    found = [process for process in running.family() if "federation/trainer" in " ".join(process.cmdline())]
    return sorted(found, key=kit_of)


def kit_of(process: psutil.Process) -> str:
    return Path(process.environ()[MARK_VARIABLE]).name


def wait_until(condition: Callable[[], bool], running: RunningFederation) -> None:
    deadline = time.monotonic() + JOB_SECONDS
    while not condition():
        assert time.monotonic() < deadline, running.tails()
        time.sleep(0.2)
