"""Over mTLS: sites die, freeze and join, the server is killed, and one study goes through it all.

What must hold: rounds go on while there is a quorum, a job that goes on with the study starts at the sites that are
connected then, nothing that was recorded is lost or doubled, and what reaches the server of a site's trouble is its
kind alone.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from end_to_end import tiny
from end_to_end.federation import RunningFederation, run_federation
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.federation.messages import SITE_DATA_VARIABLE
from fedswin.kits.consortium import SERVER
from fedswin.operations.admin import COMPLETED
from fedswin.operations.fetch import fetch
from fedswin.operations.studies import delete_studies, list_studies
from fedswin.operations.submit import submit, submit_next_segment
from fedswin.outcome import read_outcome
from fedswin.records import Record, read_records
from fedswin.weights.file import load_weights
from fedswin.weights.handover import initial_state

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = ("a", "b", "c")
JOB_SECONDS = 400.0


@pytest.fixture(scope="module")
def job() -> Job:
    federation = {"rounds": 16, "local_steps": 1, "min_sites": 2, "grace_after_quorum": 8, "silence_timeout": 20}
    pretraining = {**tiny.PRETRAIN["pretraining"], "validation_batches": 2}
    return tiny.job({**tiny.PRETRAIN, "pretraining": pretraining, "federation": federation})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_sites(tmp_path_factory.mktemp("hospitals"), dict.fromkeys((*SITES, "d"), 1))


def test_one_study_outlives_its_sites_and_its_server(job: Job, data: Path, tmp_path: Path) -> None:
    with run_federation(tmp_path, {name: data / name for name in SITES}, more_sites=["d"]) as federation:
        first = submit(job, initial_state(job), federation.lead).job_id
        study = federation.kits / SERVER / "studies" / first

        wait_for_line(federation, study, 1)
        job_process(federation, "b", first).kill()
        lost = {"site": "b", "reason": "its process of this job has ended"}
        wait_for(federation, lambda: any(lost in record["refused"] for record in read_records(study)), "lost site")

        federation.start("d", **{SITE_DATA_VARIABLE: str(data / "d")})
        federation.wait_until_connected([*SITES, "d"])
        second = submit_next_segment(job, first, federation.lead).job_id
        assert read_outcome(study).ended == "segment"
        kept = read_records(study)
        wait_for(
            federation, lambda: any(set(record["sites"]) == set("abcd") for record in read_records(study)), "new site"
        )
        assert read_records(study)[: len(kept)] == kept

        frozen = job_process(federation, "c", second)
        frozen.send_signal(signal.SIGSTOP)
        wait_for(federation, lambda: "c" in read_records(study)[-1]["missing"], "missing frozen site")
        frozen.send_signal(signal.SIGCONT)
        away = len(read_records(study))
        wait_for(federation, lambda: any("weight" in entry for entry in entries(study, "c", away)), "site that is back")

        federation.kill(SERVER)
        kept = read_records(study)
        federation.start(SERVER)
        federation.wait_until_connected([*SITES, "d"])
        third = submit_next_segment(job, second, federation.lead).job_id
        assert federation.ended(third, JOB_SECONDS) == COMPLETED, federation.tails()

        fetch(third, federation.lead, tmp_path / "run")
        with pytest.raises(FedSwinError, match="unfinished study"):
            fetch(first, federation.lead, tmp_path / "part")
        check_the_whole_study(tmp_path / "run", job, kept)
        check_what_is_kept(federation, job, first)
    assert federation.family() == []


def check_the_whole_study(run: Path, job: Job, kept: list[Record]) -> None:
    """Every global model has one line, the lines before the server's death among them, and curves do not go back."""
    records = read_records(run)
    assert [record["round"] for record in records] == list(range(job.federation.rounds + 1))
    assert records[: len(kept)] == kept
    assert load_weights(run / "global" / "last.pt").provenance["round"] == job.federation.rounds
    assert json.loads((run / "provenance.json").read_text())["finished"] is True
    for site in (*SITES, "d"):
        events = EventAccumulator(str(run / "tensorboard" / site)).Reload()
        steps = [event.step for event in events.Scalars("train/loss")]
        assert steps == sorted(set(steps))


def check_what_is_kept(federation: RunningFederation, job: Job, study: str) -> None:
    """Server and sites keep the study under its first job's id until it is deleted; then it cannot go on."""
    for kit in (SERVER, "a"):
        folder = federation.kits / kit / "studies"
        assert [(kept.id, kept.job) for kept in list_studies(folder)] == [(study, job.name)]
        delete_studies(folder, [study])
        assert list_studies(folder) == []
    again = submit_next_segment(job, study, federation.lead).job_id
    assert federation.ended(again, JOB_SECONDS) != COMPLETED
    with pytest.raises(FedSwinError, match="holds no state of this study"):
        fetch(again, federation.lead, federation.kits.parent / "none")


def entries(study: Path, site: str, first: int) -> list[Record]:
    """What the records say of a site, from line ``first`` on."""
    return [record["sites"].get(site, {}) for record in read_records(study)[first:]]


def job_process(federation: RunningFederation, site: str, job_id: str) -> psutil.Process:
    """The process that runs the job at a site, apart from that of its kit."""
    kit = str(federation.kits / site)
    lines = {process: process.cmdline() for process in federation.family()}
    [found] = [p for p, line in lines.items() if job_id in line and any(part.startswith(kit) for part in line)]
    return found


def wait_for_line(federation: RunningFederation, study: Path, number: int) -> None:
    wait_for(federation, lambda: len(read_records(study)) > number, f"line {number}")


def wait_for(federation: RunningFederation, happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + JOB_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"no {what}\n{federation.tails()}"
        time.sleep(0.1)
