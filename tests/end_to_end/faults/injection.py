"""Faults that a simulation is to suffer, and whether it did; ``injected/sitecustomize.py`` does them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).with_name("injected")


class Fault(NamedTuple):
    """Something that goes wrong.

    Attributes:
        kind: one of the kinds in ``injected/sitecustomize.py``.
        at: a site, or ``server``.
        round: the global model that the round starts from; at the server, the one that is written.
    """

    kind: str
    at: str
    round: int


def environment(*faults: Fault) -> dict[str, str]:
    """The environment in which a simulation suffers ``faults``."""
    path = os.pathsep.join(filter(None, [str(_FOLDER), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "FEDSWIN_TEST_FAULTS": json.dumps(faults)}


def assert_happened(run: Path, *faults: Fault) -> None:
    """Every one of ``faults`` happened in the simulation that started last."""
    log = sorted(run.glob("nvflare/segment*/console.log"))[-1].read_text()
    for kind, at, number in faults:
        assert f"injected: {kind} at {at} in round {number}" in log


def models_written(run: Path) -> int:
    """The number of the newest global model that the server has written down; as many rounds are over."""
    return max((int(path.name[:6]) for path in run.glob("state/??????-*.pt")), default=0)
