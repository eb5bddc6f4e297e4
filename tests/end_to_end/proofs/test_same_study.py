"""A study over mTLS is the study that the simulator runs: the same models to the bit, the same records.

That holds for the same CPU threads, which the jobs set, and for float32 exchange.
"""

from __future__ import annotations

import io
import zipfile

import pytest
import torch

from end_to_end.proofs.conftest import JOBS, SITES, Study, WatchedFederation, timeless
from end_to_end.proofs.marked_sites import files_named
from fedswin.federation import messages
from fedswin.operations.admin import Federation
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]


@pytest.mark.parametrize("task", JOBS)
@pytest.mark.parametrize("which", ["last", "best"])
def test_the_global_models_are_equal_to_the_bit(study: Study, task: str, which: str) -> None:
    real, simulation = (load_weights(runs[task] / "global" / f"{which}.pt") for runs in (study.runs, study.simulated))
    assert real.digest == simulation.digest
    assert real.provenance["round"] == simulation.provenance["round"]
    assert which == "best" or real.digest != load_weights(study.simulated[task] / "nvflare" / "initial.pt").digest


@pytest.mark.parametrize("task", JOBS)
def test_the_records_are_equal(study: Study, task: str) -> None:
    real, simulation = (read_records(runs[task]) for runs in (study.runs, study.simulated))
    assert [record["round"] for record in real] == list(range(JOBS[task].federation.rounds + 1))
    assert all(set(record["sites"]) == set(SITES) for record in real)
    assert timeless(real) == timeless(simulation)


def test_the_handed_over_weights_go_to_the_server_alone(study: Study, federation: WatchedFederation) -> None:
    kits, name = federation.running.kits, messages.INITIAL_WEIGHTS
    sent = kits / "server" / "storage" / "jobs" / study.job_ids["finetune"] / "data"
    with zipfile.ZipFile(sent) as job:
        (member,) = (path for path in job.namelist() if path.endswith(name))
        initial = torch.load(io.BytesIO(job.read(member)), weights_only=True)["tensors"]
    assert member.endswith(f"/app_server/config/{name}")
    simulation = load_weights(study.simulated["finetune"] / "nvflare" / name).tensors
    assert initial.keys() == simulation.keys()
    assert all(torch.equal(tensor, simulation[key]) for key, tensor in initial.items())
    encoder = load_weights(study.runs["pretrain"] / "global" / "best.pt").tensors
    assert sum("swinViT" in key and torch.equal(tensor, encoder[key]) for key, tensor in initial.items()) > 100
    assert [files_named(name, kits / site) for site in SITES] == [[], []]


def test_no_job_brings_code(study: Study, federation: WatchedFederation) -> None:
    with Federation(federation.running.lead) as session:
        assert all("byoc" not in session.job(job_id) for job_id in study.job_ids.values())
