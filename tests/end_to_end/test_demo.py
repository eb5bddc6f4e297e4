"""The demo's promise: a few minutes of federated fine-tuning on phantoms segment what the untrained model cannot."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fedswin.config import load_job
from fedswin.operations.evaluate import evaluate, matrix
from fedswin.operations.made_sites import resolve_sites
from fedswin.operations.simulate import simulate

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

PROJECT = Path(__file__).parents[2]
JOB = PROJECT / "jobs" / "demo" / "finetune.yaml"
SCENARIO = PROJECT / "simulator" / "three_phantom_hospitals.yaml"


def test_the_federated_model_segments_the_test_cases(tmp_path: Path) -> None:
    run, console = tmp_path / "run", Console(file=io.StringIO())
    sites = resolve_sites(SCENARIO, run, console=console)
    simulate(load_job(JOB), sites, run, console=console)
    assert json.loads((run / "provenance.json").read_text())["scenario"]["name"] == "three_phantom_hospitals"
    table = matrix(evaluate([run, run / "nvflare" / "initial.pt"], sites))
    trained, untrained = table["run"]["all"], table["run/nvflare/initial.pt"]["all"]
    assert trained["dice"] > 0.6
    assert untrained["dice"] < 0.1
    assert trained["dice_liver"] > 0.85
