"""SimEnv: a robust rule, a server optimizer, a proximal term, a sample and a local module, all in one job."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from end_to_end import tiny
from fedswin.federation.client import OWN_MODEL
from fedswin.operations.simulate import simulate
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

SITES = {"a": 2, "b": 1, "c": 1, "d": 1}
FEDERATION = {
    "rounds": 1,
    "local_steps": 3,
    "min_sites": 3,
    "sample": 3,
    "proximal": 0.5,
    "local": ["rotation"],
    "aggregation": {"rule": "trimmed_mean", "trim": 1, "optimizer": "fedadam", "learning_rate": 0.01},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strategies")
    data = tiny.write_sites(folder / "hospitals", SITES)
    job = tiny.job({**tiny.PRETRAIN, "federation": FEDERATION})
    simulate(job, data, folder / "run", console=Console(file=io.StringIO()))
    return folder / "run"


@pytest.fixture(scope="module")
def trained(run: Path) -> list[str]:
    """The sites of the sample."""
    return [site for site, entry in read_records(run)[1]["sites"].items() if "weight" in entry]


def test_a_sample_trains_and_everybody_scores(run, trained):
    assert len(trained) == FEDERATION["sample"]
    assert all(set(SITES) == {s for s, entry in r["sites"].items() if "metrics" in entry} for r in read_records(run))


def test_the_sites_are_pulled_towards_the_global_model(run, trained):
    assert all(read_records(run)[1]["sites"][site]["train"]["proximal"] > 0 for site in trained)


def test_the_global_model_is_adams_step_towards_the_median(run, trained):
    """Of three values a trimmed mean leaves the median. Reddi et al., 2021, algorithm 2, from the start."""
    settings = load_weights(run / "global" / "last.pt").job.federation.aggregation
    own = [load_weights(run / "sites" / site / OWN_MODEL).tensors for site in trained]
    before = load_weights(run / "nvflare" / "initial.pt").tensors
    after = load_weights(run / "global" / "last.pt").tensors
    assert not any("rotation" in name for name in after)
    for name, tensor in after.items():
        start = before[name].double().numpy()
        step = np.median([tensors[name].double().numpy() for tensors in own], axis=0) - start
        first = (1 - settings.momentum) * step
        second = settings.beta2 * settings.epsilon**2 + (1 - settings.beta2) * step**2
        expected = start + 0.01 * first / (np.sqrt(second) + settings.epsilon)
        np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6, err_msg=name)
