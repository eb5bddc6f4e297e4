"""Sides take turns, each in a process of its own, with a peak of its own; what goes wrong there is told here."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks.works import MEGABYTE, allocating, dying, failing_to_build, noting, sleeping
from fedswin.benchmarks.sides import Side, in_turn, rates, seconds
from fedswin.errors import FedSwinError


def test_sides_take_turns_after_a_warm_up(tmp_path: Path) -> None:
    file = tmp_path / "order"
    runs = in_turn({name: partial(noting, file, name) for name in "ab"}, repeats=2, threads=1)
    assert file.read_text().split() == ["a", "b"] * 3
    assert [len(runs[name]) for name in "ab"] == [2, 2]
    processes = {name: {run.result for run in runs[name]} for name in "ab"}
    assert all(len(of_one_side) == 1 for of_one_side in processes.values())
    assert len({os.getpid(), *(process for some in processes.values() for process, _ in some)}) == 3
    assert {threads for some in processes.values() for _, threads in some} == {1}


def test_only_the_work_is_timed() -> None:
    [run] = in_turn({"a": partial(sleeping, 0.1)}, repeats=1, threads=1, warm_ups=0)["a"]
    assert 0.1 <= run.seconds < 0.5
    assert seconds([run]) == [run.seconds]
    assert rates([run], 2.0) == [2.0 / run.seconds]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks of memory are read from /proc")
def test_each_side_has_its_own_peak() -> None:
    """Both start from the same pages, so what differs is what they allocate."""
    runs = in_turn({"much": partial(allocating, 200), "little": partial(allocating, 10)}, repeats=1, threads=1)
    much, little = (runs[name][-1].peak for name in ("much", "little"))
    assert much is not None
    assert little is not None
    assert much - little == pytest.approx(190 * MEGABYTE, rel=0.1)


def test_what_goes_wrong_in_a_side_is_told() -> None:
    with pytest.raises(FedSwinError, match="There is no such case."), Side(failing_to_build, 1):
        pass
    with Side(dying, 1) as side:
        for _ in range(2):  # the second time there is nobody left to ask
            with pytest.raises(FedSwinError, match="has ended, perhaps for want of memory"):
                side.run()
