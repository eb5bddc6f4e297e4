"""A study in a real federation: kits, processes and mTLS, from the job file to the run folder."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from end_to_end.federation import LEAD, MEMBER, RunningFederation, run_federation
from fedswin.config import Job, load_job
from fedswin.data.datalist import Case, write_datalist
from fedswin.errors import FedSwinError
from fedswin.operations.admin import COMPLETED, Federation, wait_for_job
from fedswin.operations.fetch import fetch
from fedswin.operations.submit import submit
from fedswin.run_folder import Record, read_records
from fedswin.weights.file import load_weights
from fedswin.weights.handover import initial_state

JOB = Path(__file__).resolve().parents[2] / "jobs" / "demo" / "pretrain.yaml"
SITES = ("hospital_a", "hospital_b")
JOB_SECONDS = 240.0

pytestmark = pytest.mark.end_to_end


def make_site(folder: Path, seed: int) -> Path:
    """Write four small volumes: a body of soft tissue in air, three to train on and one to validate."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    cases = []
    for number in range(4):
        volume = np.full((48, 48, 40), -1000.0, np.float32)
        volume[8:40, 8:40, 2:38] = draw.uniform(0, 100, (32, 32, 36))
        path = folder / f"case_{number}.nii.gz"
        nibabel.Nifti1Image(volume, np.diag([4.0, 4.0, 4.0, 1.0])).to_filename(path)
        cases.append(Case(path))
    write_datalist(folder, {"training": cases[:3], "validation": cases[3:]})
    return folder


def test_a_study_from_the_job_file_to_the_run_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sites = {name: make_site(tmp_path / "data" / name, seed) for seed, name in enumerate(SITES)}
    job = load_job(JOB)
    run = tmp_path / "run"
    with run_federation(tmp_path, sites) as federation:
        check_refusals(federation, job, tmp_path)
        job_id = submit(job, initial_state(job), federation.lead)
        status = wait_for_job(job_id, federation.lead, JOB_SECONDS)
        assert status == COMPLETED, federation.tails()
        assert all(address.removeprefix("::ffff:") in ("127.0.0.1", "::1") for address in federation.listening())
        with Federation(federation.lead) as session:
            assert "byoc" not in session.job(job_id)
        fetch(job_id, federation.lead, run)
    assert federation.family() == []
    assert capfd.readouterr() == ("", "")

    check_records(read_records(run), job)
    check_models(run, job)
    check_curves(run, read_records(run))
    about = json.loads((run / "provenance.json").read_text())
    assert (about["job_id"], about["sites"]) == (job_id, list(SITES))
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
        assert [point.step for point in curve] == [record["round"] for record in records]
        assert [point.value for point in curve] == pytest.approx(losses, rel=1e-6)
        assert name == "global" or "train/loss" in events.Tags()["scalars"]
