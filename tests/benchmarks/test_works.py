"""What is measured does what it says, and both sides come to the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import stand_in
from end_to_end import tiny
from fedswin.benchmarks.encoding_cost import federated_loss
from fedswin.benchmarks.exchange import fedswin_exchange, stock_exchange
from fedswin.benchmarks.infer import labels_by_blocks, labels_by_monai, labels_by_scoring
from fedswin.benchmarks.plain import PlainPretrainer
from fedswin.benchmarks.server import MEGABYTE, all_held, model, served_study
from fedswin.benchmarks.setup import Setup
from fedswin.config import Job
from fedswin.data.datalist import read_site
from fedswin.records import read_records

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path, repeats=1, threads=1, quick=True)


def test_a_stock_recipe_sends_the_integer_tables_too(setup: Setup) -> None:
    job = setup.pretraining(12, 64)
    plain = PlainPretrainer(12)
    tables = sum(8 * buffer.numel() for buffer in plain.buffers())
    heads = 200 * len(plain.state_dict())  # names and shapes of the tensors
    assert stock_exchange(job)() - fedswin_exchange(job, "fp32")() == pytest.approx(tables, abs=heads)
    assert fedswin_exchange(job, "fp32")() == pytest.approx(4 * sum(p.numel() for p in plain.parameters()), abs=heads)


def test_encodings_send_a_half_and_a_quarter(setup: Setup) -> None:
    fp32, fp16, int8 = (fedswin_exchange(setup.pretraining(12, 64), name)() for name in ("fp32", "fp16", "int8"))
    assert fp16 / fp32 == pytest.approx(1 / 2, abs=0.01)
    assert int8 / fp32 == pytest.approx(1 / 4, abs=0.02)


def test_a_federation_of_one_in_this_process_learns_as_one_that_is_alone(tmp_path: Path) -> None:
    """One site, exact exchange: the same steps by the trainer itself, scored by the task itself."""
    from fedswin.tasks import build_task
    from fedswin.training.trainer import Trainer, make_deterministic

    job = tiny.job(tiny.PRETRAIN)
    site = read_site(tiny.write_sites(tmp_path, {"a": 2}) / "a")
    loss = federated_loss(job, [site])()
    make_deterministic(job)
    task = build_task(job, site, torch.device("cpu"))
    trainer = Trainer(task, job, torch.device("cpu"))
    for number in range(job.federation.rounds):
        trainer.run(number * job.federation.local_steps, job.federation.local_steps)
    assert loss == task.validate().metrics["loss"]


def test_both_servers_come_to_the_same_model(tmp_path: Path) -> None:
    """Each site moves every parameter by 0.01 x its number: with 3 sites 0.02 a round, in two rounds 0.04."""
    job = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 2, "min_sites": 3}})
    run = served_study(job, 2, tmp_path / "servers")()
    published = torch.load(run / "global" / "last.pt", weights_only=True)["tensors"]
    for tensors in (published, all_held(job, 2)()):
        for name, tensor in model(2).items():
            torch.testing.assert_close(tensors[name], torch.full_like(tensor, 0.04))
    assert len(read_records(run)[-1]["sites"]) == 3
    assert sum(tensor.nbytes for tensor in model(2).values()) == 2 * 4 * np.prod(MEGABYTE)


def test_all_ways_of_inference_label_alike(tmp_path: Path) -> None:
    job = labelling_job()
    case = stand_in.save(tmp_path / "case.nii.gz", block(), np.diag([6.0, 6.0, 6.0, 1.0]))
    scored, blocks, monai = (build(job, case)() for build in (labels_by_scoring, labels_by_blocks, labels_by_monai))
    assert np.array_equal(scored, monai)
    assert np.array_equal(blocks, monai)
    assert len(np.unique(monai)) > 1


def labelling_job() -> Job:
    return tiny.job({**tiny.FINETUNE, "trainer": {"device": "cpu"}})


def block() -> np.ndarray:
    return np.random.default_rng(0).normal(40, 60, (70, 36, 40)).astype(np.int16)
