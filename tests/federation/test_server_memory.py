"""The server's memory does not grow with the number of sites: one update at a time is read, added and forgotten."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from end_to_end import tiny
from fedswin.benchmarks.server import all_held, served_study
from fedswin.benchmarks.sides import Run, Side
from fedswin.config import Job
from fedswin.records import read_records

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks of memory are read from /proc"),
]

MODEL = 100
"""Its size, in units of 2**20 bytes."""
FEW = {"mean": 2, "trimmed_mean": 3}  # a trimmed mean takes no fewer
MANY = 16
MEASUREMENTS = 3  # a server's peak differs by up to a model from process to process, upwards; the least counts


def job_of(sites: int, rule: str = "mean", exchange: str = "fp32") -> Job:
    """A job of two rounds, which all sites take part in."""
    federation = {"rounds": 2, "min_sites": sites, "exchange": exchange, "aggregation": {"rule": rule}}
    return tiny.job({**tiny.PRETRAIN, "federation": federation})


def least_peak(folder: Path, job: Job) -> int:
    """The least of the peaks of several servers, in units of 2**20 bytes."""
    return min(peak(folder / str(number), job) for number in range(MEASUREMENTS))


def peak(folder: Path, job: Job) -> int:
    """The most that a server held, measured in a process of its own."""
    with Side(partial(served_study, job, MODEL, folder), threads=1) as server:
        run = server.run()
    last = read_records(run.result)[-1]
    assert len(last["sites"]) == job.federation.min_sites
    assert last["refused"] == last["missing"] == []
    return mebibytes(run)


def mebibytes(run: Run) -> int:
    assert run.peak
    return run.peak // 2**20


@pytest.mark.parametrize("exchange", ["fp32", "int8"])
@pytest.mark.parametrize("rule", ["mean", "trimmed_mean"])
def test_many_sites_need_at_most_one_model_more_than_few(tmp_path, rule, exchange):
    few, many = (least_peak(tmp_path / str(sites), job_of(sites, rule, exchange)) for sites in (FEW[rule], MANY))
    print(f"{rule}, {exchange}, model {MODEL} MiB: {few} MiB with {FEW[rule]} sites, {many} MiB with {MANY}")
    assert many - few <= MODEL


def test_a_server_that_holds_all_updates_is_seen_to():
    few, many = (mebibytes(run_of(sites)) for sites in (2, MANY))
    assert many - few > (MANY - 2 - 1) * MODEL


def run_of(sites: int) -> Run:
    with Side(partial(all_held, job_of(sites), MODEL), threads=1) as server:
        return server.run()
