"""What encoding and decoding hold beside what is kept and sent: a tensor at a time, never a second model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks of memory are read from /proc"),
]

MODEL_MEGABYTES = 100
SENT = {"fp32": 1.0, "int8": 0.25}
"""The size of an update, in models."""
A_FEW_TENSORS = 0.2 * MODEL_MEGABYTES
"""A model has 25; this also covers what Python and torch take for themselves when they do something first."""


def most_beside(step: str, encoding: str) -> float:
    """The most megabytes that a step held beside what was held before, measured in a process of its own."""
    program = [sys.executable, str(Path(__file__).with_name("measured_exchange.py"))]
    done = subprocess.run(
        [*program, step, encoding, str(MODEL_MEGABYTES)],
        # A tensor that is freed goes back to the system at once, so that it cannot serve what is measured.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_MMAP_THRESHOLD_": "524288"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.parametrize("encoding", SENT)
@pytest.mark.parametrize("step", ["update", "load", "read"])
def test_a_step_holds_what_is_sent_and_a_few_tensors(step: str, encoding: str):
    most = min(most_beside(step, encoding) for _ in range(2))  # it differs from process to process, upwards
    made = SENT[encoding] * MODEL_MEGABYTES if step == "update" else 0
    print(f"{step}, {encoding}, model {MODEL_MEGABYTES} MB: {most:.0f} MB, of which {made:.0f} MB are sent")
    assert 0.9 * made <= most, "it holds what it sends at least, or nothing was measured"
    assert most < made + A_FEW_TENSORS
