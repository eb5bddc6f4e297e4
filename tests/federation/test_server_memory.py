"""The server's memory does not grow with the number of sites: one update at a time is read, added and forgotten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedswin.run_folder import read_records

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks of memory are read from /proc"),
]

MODEL_MEGABYTES = 100
FEW = {"mean": 2, "trimmed_mean": 3}  # a trimmed mean takes no fewer
MANY = 16
MEASUREMENTS = 2  # a server's peak differs by up to a model from process to process, upwards; the least counts


def least_peak(folder: Path, sites: int, rule: str, exchange: str) -> int:
    """The least of the peaks of several servers of so many sites, in megabytes."""
    return min(peak(folder / str(number), sites, rule, exchange) for number in range(MEASUREMENTS))


def peak(folder: Path, sites: int, rule: str, exchange: str) -> int:
    """The most megabytes that a server of so many sites held, measured in a process of its own."""
    program = [sys.executable, str(Path(__file__).with_name("measured_server.py"))]
    done = subprocess.run(
        [*program, str(sites), rule, exchange, str(MODEL_MEGABYTES), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    last = read_records(folder)[-1]
    assert len(last["sites"]) == sites
    assert last["refused"] == last["missing"] == []
    return int(done.stdout)


@pytest.mark.parametrize("exchange", ["fp32", "int8"])
@pytest.mark.parametrize("rule", ["mean", "trimmed_mean"])
def test_many_sites_need_at_most_one_model_more_than_few(tmp_path, rule, exchange):
    few, many = (least_peak(tmp_path / str(sites), sites, rule, exchange) for sites in (FEW[rule], MANY))
    print(f"{rule}, {exchange}, model {MODEL_MEGABYTES} MB: {few} MB with {FEW[rule]} sites, {many} MB with {MANY}")
    assert few > 2 * MODEL_MEGABYTES, "it holds a model and an update at least, or nothing was measured"
    assert many - few <= MODEL_MEGABYTES
