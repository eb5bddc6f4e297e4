"""The demo's promise: a few minutes of federated fine-tuning on phantoms segment what the untrained model cannot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from fedswin.config import load_job
from fedswin.data.phantom import write_phantoms
from fedswin.operations.evaluate import evaluate, matrix
from fedswin.operations.simulate import simulate

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

JOB = Path(__file__).parents[2] / "jobs" / "demo" / "finetune.yaml"


def test_the_federated_model_segments_the_test_cases(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "data", spacing=4)
    run = tmp_path / "run"
    simulate(load_job(JOB), tmp_path / "data", run, console=Console(file=io.StringIO()))
    table = matrix(evaluate([run, run / "nvflare" / "initial.pt"], tmp_path / "data"))
    trained, untrained = table["run"]["all"], table["run/nvflare/initial.pt"]["all"]
    assert trained["dice"] > 0.3
    assert untrained["dice"] < 0.1
    assert trained["dice_liver"] > 0.7
