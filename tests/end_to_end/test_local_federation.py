"""``fedswin federation`` as a person uses it: each command a process of its own, and a study between up and down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from end_to_end import tiny
from fedswin.operations.kit_processes import KitProcesses
from fedswin.operations.process_family import MARK_VARIABLE
from fedswin.records import read_records

SITES = ("a", "b")

pytestmark = pytest.mark.end_to_end


def test_up_a_study_down_and_up_again(tmp_path: Path) -> None:
    tiny.write_sites(tmp_path / "sites", dict.fromkeys((*SITES, "c"), 1))
    (tmp_path / "job.yaml").write_text(tiny.job(tiny.PRETRAIN).to_yaml())
    try:
        said = run(tmp_path, "federation", "up", "--data", "sites", "--out", "fed", "--sites", "2").splitlines()
        [export] = [line.strip() for line in said if "export FEDSWIN_KIT=" in line]
        name, kit = export.removeprefix("export ").split("=")

        job = run(tmp_path, "submit", "job.yaml", **{name: kit}).strip()
        run(tmp_path, "fetch", job, "--out", "run", "--wait", **{name: kit})
        assert [set(record["sites"]) for record in read_records(tmp_path / "run")] == [set(SITES)] * 3

        first = status(tmp_path)
        check_state(first, "up", connected=SITES, jobs=[(job, "FINISHED:COMPLETED")])
        running = run(tmp_path, "submit", "job.yaml", "--set", "federation.local_steps=10000", **{name: kit}).strip()
        said = run(tmp_path, "federation", "down", "fed").splitlines()
        assert f"  fedswin submit JOB --resume {running}" in said
        assert left_over(tmp_path) == []
        check_state(status(tmp_path), "down", connected=(), jobs=[])

        run(tmp_path, "federation", "up", "--out", "fed")
        again = status(tmp_path)
        check_state(again, "up", connected=SITES, jobs=[(running, "FINISHED:ABORTED"), (job, "FINISHED:COMPLETED")])
        assert (again["port"], again["kit"]) == (first["port"], first["kit"])
        run(tmp_path, "federation", "down", "fed")
        assert left_over(tmp_path) == []
    finally:
        KitProcesses(tmp_path / "fed").end()


def run(folder: Path, *arguments: str, **environment: str) -> str:
    """Return what ``fedswin`` prints, run in a process of its own from ``folder``."""
    done = subprocess.run(
        [sys.executable, "-c", "from fedswin.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def status(folder: Path) -> dict[str, Any]:
    return json.loads(run(folder, "federation", "status", "fed", "--json"))


def check_state(found: dict[str, Any], state: str, connected: tuple[str, ...], jobs: list[tuple[str, str]]) -> None:
    assert found["problem"] == ""
    assert found["state"] == state
    assert found["connected"] == list(connected)
    assert [(job["id"], job["status"]) for job in found["jobs"]] == jobs
    assert set(found["processes"]) == ({"server", *SITES} if state == "up" else set())


def left_over(folder: Path) -> list[list[str]]:
    """The command lines of processes that run and name the folder there, or in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            named = any(str(folder) in part for part in (*line, process.environ().get(MARK_VARIABLE, "")))
            if named and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(line)
        except psutil.Error:
            continue
    return found
