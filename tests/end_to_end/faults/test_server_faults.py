"""SimEnv: a full disk, a clock set back, too many failed rounds: the study stops or goes on, and nothing is lost."""

from __future__ import annotations

import pytest

from end_to_end import tiny
from end_to_end.faults.injection import Fault, assert_happened, environment
from end_to_end.simulation import RunningSimulation
from fedswin.federation.state import StateFolder
from fedswin.federation.study import STATE
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = {"a": 2, "b": 1, "c": 1}
ROUNDS = 4


@pytest.fixture(scope="module")
def job():
    return tiny.job(
        {
            **tiny.PRETRAIN,
            "federation": {"rounds": ROUNDS, "local_steps": 1, "min_sites": 3, "max_failed_rounds": 2},
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_sites(tmp_path_factory.mktemp("hospitals"), SITES)


@pytest.fixture(scope="module")
def undisturbed(job, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    run(job, data, out)
    return out


def run(job, data, out, *options, faults=(), exit_code=0):
    """Simulate with these faults, and return what the command printed."""
    with RunningSimulation(job, data, out, *options, environment=environment(*faults)) as simulation:
        assert simulation.finish() == exit_code, simulation.printed()
    assert_happened(out, *faults)
    return out.with_name(f"{out.name}.console.txt").read_text()


def scores(run):
    return [record["global"] for record in read_records(run)]


def digest(run, name="last"):
    return load_weights(run / "global" / f"{name}.pt").digest


def test_after_a_full_disk_and_a_clock_set_back_the_study_goes_on_to_the_same_bits(job, data, undisturbed, tmp_path):
    out = tmp_path / "run"
    faults = [Fault("clock", "server", 1), Fault("disk full", "server", 3)]
    shown = run(job, data, out, faults=faults, exit_code=1)
    assert "No space left on device" in shown
    assert [(record["round"], record["status"]) for record in read_records(out)] == [
        (0, "initial"),
        (1, "ok"),
        (2, "ok"),
    ]
    assert scores(out) == scores(undisturbed)[:3]
    number, _ = StateFolder(out / STATE).load()
    assert number == 2
    assert load_weights(out / "global" / "last.pt").provenance["round"] == 2
    assert load_weights(out / "global" / "best.pt").digest
    assert list(out.rglob("*.partial")) == []

    run(job, data, out, "--resume")
    assert scores(out) == scores(undisturbed)
    for name in ("last", "best"):
        assert digest(out, name) == digest(undisturbed, name)


def test_too_many_failed_rounds_end_the_study_with_the_last_good_model_and_it_can_go_on(
    job, data, undisturbed, tmp_path
):
    out = tmp_path / "run"
    faults = [Fault("nan", "a", 1), Fault("out of memory", "c", 2)]
    shown = run(job, data, out, faults=faults, exit_code=1)
    assert "2 rounds in a row had fewer than 3 updates. In the last one: c: MemoryError." in " ".join(shown.split())
    assert [record["status"] for record in read_records(out)] == ["initial", "ok", "failed", "failed"]
    assert scores(out) == [scores(undisturbed)[number] for number in (0, 1, 1, 1)]
    kept = load_weights(out / "global" / "last.pt")

    run(job, data, out, "--resume")
    records = read_records(out)
    assert [record["status"] for record in records] == ["initial", "ok", "failed", "failed", "ok"]
    assert records[3]["global"] == scores(undisturbed)[1], "the model that was kept is the one that is trained on"
    assert records[4]["sites"].keys() == SITES.keys()
    assert digest(out) != kept.digest
