"""At a real site the trainer may be several processes, and none outlives its job.

That one makes the same model as the simulator's thread is in ``proofs/test_same_study.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from end_to_end import tiny
from end_to_end.federation import RunningFederation, run_federation
from fedswin.config import Job
from fedswin.federation.site_policy import SITE_POLICY
from fedswin.kits.consortium import SERVER
from fedswin.operations.fetch import fetch
from fedswin.operations.jobs import abort_job
from fedswin.operations.submit import submit
from fedswin.records import read_records
from fedswin.weights.handover import initial_state

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = ("a", "b")
SECONDS = 300.0
GONE_SECONDS = 15.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_sites(tmp_path_factory.mktemp("hospitals"), dict.fromkeys(SITES, 3))


@pytest.fixture(scope="module")
def federation(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFederation]:
    folder = tmp_path_factory.mktemp("federation")
    with run_federation(folder, {name: data / name for name in SITES}) as running:
        yield running


def test_a_site_trains_in_two_processes_and_the_study_completes(federation: RunningFederation, tmp_path: Path) -> None:
    allow(federation, "a", processes=2)
    job = tiny.job(tiny.PRETRAIN)
    started(federation, job, tmp_path)
    records = read_records(tmp_path / "run")
    assert [record["status"] for record in records] == ["initial", "ok", "ok"]
    assert all(not record["refused"] + record["missing"] for record in records)
    assert trainers(federation) == []


def test_no_process_is_left_of_a_job_that_was_killed_or_stopped(federation: RunningFederation) -> None:
    allow(federation, "a", processes=2)
    job = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 1, "local_steps": 10_000}})
    job_id = submit(job, initial_state(job), federation.lead).job_id
    wait_for(federation, lambda: len(training(federation, job_id)) == 3, "training in three processes")
    of_a, of_b = ({p.pid for p in below(job_process(federation, site, job_id))} for site in SITES)
    assert (len(of_a), len(of_b)) == (2, 1)
    assert all(address.removeprefix("::ffff:") in ("127.0.0.1", "::1") for address in federation.listening())

    job_process(federation, "a", job_id).kill()
    wait_for(federation, lambda: pids(federation).isdisjoint(of_a), "end of the trainers", GONE_SECONDS)
    assert of_b <= pids(federation)
    assert abort_job(job_id, federation.lead) == "FINISHED:ABORTED"
    wait_for(federation, lambda: not trainers(federation), "end of all trainers", GONE_SECONDS)


def test_a_trainer_that_dies_takes_its_site_out_of_the_job_and_the_others_go_on(federation: RunningFederation) -> None:
    allow(federation, "a", processes=2)
    job = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 3, "local_steps": 20}})
    job_id = submit(job, initial_state(job), federation.lead).job_id
    wait_for(federation, lambda: len(training(federation, job_id)) == 3, "training in three processes")
    follower = max(below(job_process(federation, "a", job_id)), key=lambda process: process.create_time())
    follower.kill()
    study = federation.kits / SERVER / "studies" / job_id
    wait_for(federation, lambda: len(read_records(study)) == 4, "end of the study")
    first, *later = read_records(study)[1:]
    assert [refusal["site"] for refusal in first["refused"]] == ["a"]
    assert "/" not in first["refused"][0]["reason"]
    assert [set(record["sites"]) for record in later] == [{"b"}, {"b"}]
    wait_for(federation, lambda: not trainers(federation), "end of all trainers", GONE_SECONDS)


def started(federation: RunningFederation, job: Job, folder: Path) -> None:
    """Run the job, and fetch it to ``run``."""
    job_id = submit(job, initial_state(job), federation.lead).job_id
    fetch(job_id, federation.lead, folder / "run", wait=True, timeout=SECONDS)


def allow(federation: RunningFederation, site: str, **policy: object) -> None:
    (federation.kits / site / SITE_POLICY).write_text(yaml.safe_dump(policy))


def job_process(federation: RunningFederation, site: str, job_id: str) -> psutil.Process:
    """The process that runs the job at a site, apart from that of its kit and from the trainer's."""
    kit = str(federation.kits / site)
    lines = {process: process.cmdline() for process in federation.family()}
    [found] = [p for p, line in lines.items() if job_id in line and any(part.startswith(kit) for part in line)]
    return found


def below(process: psutil.Process) -> list[psutil.Process]:
    """The processes that train, of those that a job's process has started; the rest only watches over resources."""
    return [child for child in process.children(recursive=True) if "resource_tracker" not in " ".join(child.cmdline())]


def training(federation: RunningFederation, job_id: str) -> list[psutil.Process]:
    """The trainers of a job, once every site has made a step."""
    steps = [
        journal
        for site in SITES
        for journal in (federation.kits / site / "studies" / job_id).rglob("journal.jsonl")
        if '"training"' in journal.read_text()
    ]
    return trainers(federation) if len(steps) == len(SITES) else []


def trainers(federation: RunningFederation) -> list[psutil.Process]:
    """Every process that trains, whoever its parent is by now."""
    lines = {process: " ".join(process.cmdline()) for process in federation.family()}
    return [p for p, line in lines.items() if "federation/trainer" in line or "spawn_main" in line]


def pids(federation: RunningFederation) -> set[int]:
    return {process.pid for process in federation.family()}


def wait_for(federation: RunningFederation, happened: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"no {what}\n{federation.tails()}"
        time.sleep(0.2)
