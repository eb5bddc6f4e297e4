"""SimEnv: twelve sites on two cores, three of them killed at random rounds; the quorum's model is what remains."""

from __future__ import annotations

import random
import time

import psutil
import pytest
import torch

from end_to_end import tiny
from end_to_end.simulation import RunningSimulation
from fedswin.federation.client import OWN_MODEL
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = [f"hospital{number:02d}" for number in range(1, 13)]
ROUNDS = 5
# One sub-volume a step: a site's process holds about 1.2 GB then, and 2 GB with two, for it keeps what a step frees.
SMALL = {
    **tiny.PRETRAIN,
    "pretraining": {**tiny.PRETRAIN["pretraining"], "loss_weights": {"contrastive": 0}},
    "trainer": {**tiny.PRETRAIN["trainer"], "batch_size": 1},
}
# With a module that stays local every site keeps its own model whole, from which the mean can be computed again.
FEDERATION = {
    "rounds": ROUNDS,
    "local_steps": 1,
    "min_sites": 8,
    "grace_after_quorum": 8,
    "local": ["rotation"],
}


@pytest.fixture(scope="module")
def kills():
    """The site that is killed after each of three rounds."""
    rng = random.Random(12)
    return dict(zip(sorted(rng.sample(range(ROUNDS - 1), 3)), rng.sample(SITES, 3), strict=True))


@pytest.fixture(scope="module")
def finished(kills, tmp_path_factory):
    """The run folder of a simulation that lost the sites of ``kills``."""
    folder = tmp_path_factory.mktemp("twelve")
    data = tiny.write_sites(folder / "hospitals", dict.fromkeys(SITES, 1))
    job = tiny.job({**SMALL, "federation": FEDERATION})
    started, out = time.monotonic(), folder / "run"
    with RunningSimulation(job, data, out) as simulation:
        for last, site in kills.items():
            simulation.wait_for(lambda last=last: len(read_records(out)) > last, f"record {last}")
            if last == min(kills):
                print(f"record {last} after {time.monotonic() - started:.0f} s, {_gigabytes(simulation):.1f} GB in all")
            simulation.site(site).kill()
        assert simulation.finish() == 0, simulation.printed()
    print(f"all {ROUNDS} rounds after {time.monotonic() - started:.0f} s")
    return out


def _gigabytes(simulation: RunningSimulation) -> float:
    """What all processes hold for themselves alone; the libraries that they share are left out."""
    processes: list[psutil.Process] = simulation.family()
    return sum(process.memory_full_info().uss for process in processes) / 1e9


def test_all_start_in_time_and_the_records_say_who_was_missing(finished, kills):
    records = read_records(finished)
    assert [(record["round"], record["status"]) for record in records] == [
        (0, "initial"),
        *((number, "ok") for number in range(1, ROUNDS + 1)),
    ]
    for number, record in enumerate(records[1:], start=1):
        # Line r is about the round that made model r; a site killed after line k takes no part in the next one.
        gone = {site for last, site in kills.items() if last < number - 1}
        assert set(record["missing"]) == gone
        assert {site for site, entry in record["sites"].items() if "weight" in entry} == set(SITES) - gone


def test_the_final_model_is_the_mean_of_those_who_answered(finished, kills):
    answered = set(SITES) - set(kills.values())
    own = [load_weights(finished / "sites" / site / OWN_MODEL) for site in answered]
    assert {weights.provenance["round"] for weights in own} == {ROUNDS - 1}
    last = load_weights(finished / "global" / "last.pt").tensors
    assert last
    for name, tensor in last.items():
        mean = torch.stack([weights.tensors[name].double() for weights in own]).mean(dim=0)
        assert torch.allclose(tensor.double(), mean, atol=1e-7)
