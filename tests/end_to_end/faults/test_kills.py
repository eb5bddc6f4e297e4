"""SimEnv: kill -9 at random moments, then --resume: no process is left, and the model is the same bit for bit."""

from __future__ import annotations

import random
import time
from pathlib import Path

import psutil
import pytest

from end_to_end import tiny
from end_to_end.simulation import RunningSimulation
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = {"a": 2, "b": 1, "c": 2}
ORPHANS_END_SECONDS = 5.0


@pytest.fixture(scope="module")
def job():
    return tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 4, "local_steps": 1, "min_sites": 3}})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_sites(tmp_path_factory.mktemp("hospitals"), SITES)


@pytest.fixture(scope="module")
def uninterrupted(job, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    with RunningSimulation(job, data, out) as simulation:
        assert simulation.finish() == 0, simulation.printed()
    return out


def victims(simulation: RunningSimulation) -> dict[str, psutil.Process]:
    return {
        "command": psutil.Process(simulation.process.pid),
        "server": simulation.server(),
        "site": simulation.site("b"),
    }


@pytest.mark.parametrize("victim", ["command", "server", "site"])
def test_after_a_kill_the_study_goes_on_to_the_same_bits(job, data, uninterrupted, tmp_path, victim):
    out = tmp_path / "run"
    rng = random.Random(victim)
    with RunningSimulation(job, data, out) as simulation:
        first = rng.randrange(3)
        simulation.wait_for(lambda: len(read_records(out)) > first, f"line {first}")
        time.sleep(rng.uniform(0, 4))
        victims(simulation)[victim].kill()
        assert simulation.finish() != 0
        deadline = time.monotonic() + ORPHANS_END_SECONDS
        while simulation.family() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert simulation.family() == []
    with RunningSimulation(job, data, out, "--resume") as simulation:
        assert simulation.finish() == 0, simulation.printed()
    for name in ("last", "best"):
        assert digest(out, name) == digest(uninterrupted, name)
    assert [record["global"] for record in read_records(out)] == [
        record["global"] for record in read_records(uninterrupted)
    ]


def digest(run: Path, name: str) -> str:
    return load_weights(run / "global" / f"{name}.pt").digest
