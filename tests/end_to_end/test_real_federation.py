"""A study in a real federation: kits, processes and mTLS, from the job file to the run folder."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from end_to_end.federation import LEAD, MEMBER, RunningFederation, run_federation
from end_to_end.tiny import write_sites
from fedswin.config import Job, load_job
from fedswin.errors import FedSwinError
from fedswin.operations.admin import COMPLETED, Federation
from fedswin.operations.fetch import fetch
from fedswin.operations.jobs import abort_job, list_jobs
from fedswin.operations.monitor import JobSource, watch
from fedswin.operations.study_table import record_line
from fedswin.operations.submit import submit
from fedswin.records import Record, read_records
from fedswin.weights.file import load_weights
from fedswin.weights.handover import initial_state

JOB = Path(__file__).resolve().parents[2] / "jobs" / "demo" / "pretrain.yaml"
SITES = ("hospital_a", "hospital_b")
JOB_SECONDS = 240.0

pytestmark = pytest.mark.end_to_end


def test_a_study_from_the_job_file_to_the_run_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_sites(tmp_path / "data", dict.fromkeys(SITES, 2))
    job = load_job(JOB, ["federation.rounds=2", "federation.local_steps=3"])
    run = tmp_path / "run"
    with run_federation(tmp_path, {name: data / name for name in SITES}) as federation:
        check_refusals(federation, job, tmp_path)
        job_id = submit(job, initial_state(job), federation.lead).job_id
        seen = watched(federation, job_id)
        assert federation.ended(job_id, JOB_SECONDS) == COMPLETED, federation.tails()
        assert all(address.removeprefix("::ffff:") in ("127.0.0.1", "::1") for address in federation.listening())
        with Federation(federation.lead) as session:
            assert "byoc" not in session.job(job_id)
        fetch(job_id, federation.lead, run)
        check_a_job_for_one_site(federation, tmp_path)
        check_a_job_is_stopped(federation, job, job_id)
    assert federation.family() == []
    assert capfd.readouterr() == ("", "")

    check_records(read_records(run), job)
    rounds = [line for line in seen if line.startswith("round ")]
    assert rounds
    assert rounds == [record_line(job, record) for record in read_records(run)][: len(rounds)]
    assert sum(line.startswith("rotation ") for line in seen) == len(rounds)  # whether it learns, under each
    check_models(run, job)
    check_curves(run, read_records(run))
    check_pictures(tmp_path, run)
    about = json.loads((run / "provenance.json").read_text())
    assert (about["job_id"], list(about["sites"])) == (job_id, list(SITES))
    assert load_job(run / "job.yaml") == job
    assert job_id in (run / "nvflare" / "server_log.txt").read_text()
    assert not list((federation.kits / LEAD / "transfer").iterdir())


def check_refusals(federation: RunningFederation, job: Job, folder: Path) -> None:
    """What a running server refuses, in words."""
    initial = initial_state(job)
    with pytest.raises(FedSwinError, match="knows no such job"):
        fetch("8e9a3f2c-0000-4000-8000-000000000000", federation.lead, folder / "none")
    with pytest.raises(FedSwinError, match=f"{MEMBER} may not do this"):
        submit(job, initial, federation.kits / MEMBER)
    four = job.model_copy(update={"federation": job.federation.model_copy(update={"min_sites": 4})})
    with pytest.raises(FedSwinError, match="Connected are: hospital_a, hospital_b"):
        submit(four, initial, federation.lead)
    greedy = job.model_copy(update={"federation": job.federation.model_copy(update={"gpus": 2})})
    with pytest.raises(FedSwinError, match="asks each site for 2 GPUs, and hospital_a promised 0"):
        submit(greedy, initial, federation.lead)


def check_a_job_for_one_site(federation: RunningFederation, folder: Path) -> None:
    """A job that names its sites runs at those, and no site is sent the initial weights as a file."""
    job = load_job(JOB, ["federation.sites=[hospital_b]", "federation.min_sites=1", "federation.rounds=1"])
    fetch(submit(job, initial_state(job), federation.lead).job_id, federation.lead, folder / "one", wait=True)
    assert [set(record["sites"]) for record in read_records(folder / "one")] == [{"hospital_b"}] * 2
    sent = [path.name for path in (federation.kits / "hospital_b").rglob("app_hospital_b/config/*")]
    assert "job.yaml" in sent
    assert "initial.pt" not in sent


def check_pictures(folder: Path, run: Path) -> None:
    """Each site has pictures of its own patients, and no picture has left it."""
    for site in SITES:
        drawn = list(folder.rglob(f"{site}/studies/*/sites/{site}/tensorboard"))
        assert drawn
        for own in drawn:
            assert EventAccumulator(str(own)).Reload().Tags()["images"] == ["pictures/inpainting"]
    for path in (run / "tensorboard").rglob("events.*"):
        assert EventAccumulator(str(path)).Reload().Tags()["images"] == []


def watched(federation: RunningFederation, job_id: str) -> list[str]:
    """What a person sees who watches a job from before it starts until it has ended, without the times."""
    console = Console(file=io.StringIO(), width=200)
    with Federation(federation.lead) as session:
        watch(JobSource(session, job_id), console)
    stamp = len("2026-11-28 12:00:00 ")
    return [line[stamp:] for line in console.file.getvalue().splitlines()]


def check_a_job_is_stopped(federation: RunningFederation, job: Job, ended: str) -> None:
    """A job that runs is stopped, its processes are gone, and the list says so; one that has ended is left as it is."""
    long = job.model_copy(update={"federation": job.federation.model_copy(update={"local_steps": 10_000})})
    running = submit(long, initial_state(long), federation.lead).job_id
    wait_for_trainers(federation, running, len(SITES))
    assert abort_job(running, federation.lead) == "FINISHED:ABORTED"
    wait_for_trainers(federation, running, 0)
    states = {entry.id: entry.status for entry in list_jobs(federation.lead)}
    assert (states[running], states[ended]) == ("FINISHED:ABORTED", COMPLETED)
    with pytest.raises(FedSwinError, match="has ended already: FINISHED:ABORTED"):
        abort_job(running, federation.lead)


def wait_for_trainers(federation: RunningFederation, job_id: str, count: int) -> None:
    """Wait until so many sites have a process that runs the job."""
    deadline = time.monotonic() + JOB_SECONDS
    kits = [str(federation.kits / site) for site in SITES]
    while True:
        lines = [process.cmdline() for process in federation.family()]
        found = {kit for kit in kits for line in lines if job_id in line and any(kit in part for part in line)}
        if len(found) == count:
            return
        assert time.monotonic() < deadline, federation.tails()
        time.sleep(0.2)


def check_records(records: list[Record], job: Job) -> None:
    assert [record["round"] for record in records] == list(range(job.federation.rounds + 1))
    assert [record["status"] for record in records] == ["initial"] + ["ok"] * job.federation.rounds
    for record in records:
        assert set(record["sites"]) == set(SITES)
        assert not record["refused"] + record["missing"] + record["late"]
        assert np.isfinite(record["global"]["loss"])


def check_models(run: Path, job: Job) -> None:
    first, last = initial_state(job).tensors, load_weights(run / "global" / "last.pt")
    assert last.job == job
    assert last.provenance["round"] == job.federation.rounds
    assert last.tensors.keys() == first.keys()
    assert any(not torch.equal(last.tensors[name], first[name]) for name in first)
    losses = [record["global"]["loss"] for record in read_records(run)]
    assert load_weights(run / "global" / "best.pt").provenance["round"] == int(np.argmin(losses))


def check_curves(run: Path, records: list[Record]) -> None:
    """The global model's metric by round is there, beside what each site measured of it and its training."""
    assert {path.name for path in (run / "tensorboard").iterdir()} == {"global", *SITES}
    wanted = {"global": [record["global"]["loss"] for record in records]}
    wanted |= {site: [record["sites"][site]["metrics"]["loss"] for record in records] for site in SITES}
    for name, losses in wanted.items():
        events = EventAccumulator(str(run / "tensorboard" / name)).Reload()
        curve = events.Scalars("validation/loss")
        steps = load_job(run / "job.yaml").federation.local_steps
        assert [point.step for point in curve] == [record["round"] * steps for record in records]
        assert [point.value for point in curve] == pytest.approx(losses, rel=1e-6)
        assert name == "global" or "train/loss" in events.Tags()["scalars"]
