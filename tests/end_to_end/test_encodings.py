"""What 16 and 8 bits save, and what they cost; and that the order of arrival costs nothing."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from end_to_end import tiny
from end_to_end.faults.injection import Fault, assert_happened, environment
from end_to_end.simulation import RunningSimulation
from fedswin.operations.simulate import simulate
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = {"a": 2, "b": 1, "c": 1}
ROUNDS = 3


def job_of(exchange):
    return tiny.job({**tiny.PRETRAIN, "federation": {"rounds": ROUNDS, "local_steps": 3, "exchange": exchange}})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_sites(tmp_path_factory.mktemp("hospitals"), SITES)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """The run folder of the same job under each encoding."""
    folder = tmp_path_factory.mktemp("runs")
    for exchange in ("fp32", "fp16", "int8"):
        simulate(job_of(exchange), data, folder / exchange, console=Console(file=io.StringIO()))
    return folder


def crossed(run, direction):
    """The bytes that cross between the server and each site, from the round on that has something to differ from."""
    [size] = {site[f"bytes_{direction}"] for record in read_records(run)[2:] for site in record["sites"].values()}
    return size


def final_loss(run):
    return read_records(run)[-1]["global"]["loss"]


def test_fewer_bits_cross_in_proportion_and_the_loss_stays_close(runs):
    for exchange in ("fp32", "fp16", "int8"):
        run = runs / exchange
        print(f"{exchange}: {crossed(run, 'up')} bytes up, {crossed(run, 'down')} down, loss {final_loss(run):.6f}")
    exact = runs / "fp32"
    for direction in ("up", "down"):
        whole = crossed(exact, direction)
        # Each tensor has a header of its own, and in 8 bits scales; in a model so small they weigh something.
        assert crossed(runs / "fp16", direction) / whole == pytest.approx(1 / 2, abs=0.02)
        assert crossed(runs / "int8", direction) / whole == pytest.approx(1 / 4, abs=0.05)
    for exchange in ("fp16", "int8"):
        assert final_loss(runs / exchange) == pytest.approx(final_loss(exact), rel=0.002)
        assert digest(runs / exchange) != digest(exact)


def test_a_site_that_always_answers_last_changes_no_bit(runs, data, tmp_path):
    out = tmp_path / "run"
    faults = [Fault("slow", "a", number) for number in range(ROUNDS)]
    with RunningSimulation(job_of("fp32"), data, out, environment=environment(*faults)) as simulation:
        assert simulation.finish() == 0, simulation.printed()
    assert_happened(out, *faults)
    console = (out / "nvflare" / "segment1" / "console.log").read_text()
    for number in range(ROUNDS):
        assert re.findall(rf"arrived: (\w+) in round {number}", console)[-1] == "a"
    assert digest(out) == digest(runs / "fp32")
    assert [record["global"] for record in read_records(out)] == [
        record["global"] for record in read_records(runs / "fp32")
    ]


def digest(run):
    return load_weights(run / "global" / "last.pt").digest
