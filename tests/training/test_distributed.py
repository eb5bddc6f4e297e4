"""Two processes that train together: the same model in both, and the one that the mean of their gradients makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import start_processes

from end_to_end import tiny
from fedswin.config import Job
from fedswin.data.datalist import Site, read_site
from fedswin.tasks import build_model, build_task
from fedswin.training.distributed import Ranks, RoundFailedError
from fedswin.training.schedule import warmup_cosine
from fedswin.training.trainer import make_deterministic
from fedswin.weights.file import parameters
from training import two_processes

_SECONDS = 300.0


@pytest.fixture(scope="module")
def job() -> Job:
    return tiny.job(tiny.PRETRAIN)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return read_site(tiny.write_sites(tmp_path_factory.mktemp("hospitals"), {"a": 5}) / "a")


@pytest.fixture(scope="module")
def trained(job: Job, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what they hold after one round of two steps."""
    return train_two(job, site, tmp_path_factory.mktemp("two processes"))


def train_two(job: Job, site: Site, folder: Path) -> Path:
    started = start_processes(two_processes.train, (job, site, folder), nprocs=2, join=False)
    try:
        while not started.join(timeout=_SECONDS):
            pass
    finally:
        for process in started.processes:
            process.kill()
    return folder


def left(folder: Path, rank: int) -> dict[str, Any]:
    return dict(torch.load(folder / f"{rank}.pt", weights_only=True))


def test_both_processes_hold_the_same_model_and_optimizer_bit_for_bit(trained: Path) -> None:
    first, second = left(trained, 0), left(trained, 1)
    assert first["trainer"].pop("precision") == second["trainer"].pop("precision")
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_it_is_the_model_that_the_mean_gradient_of_both_batches_makes(trained: Path, job: Job, site: Site) -> None:
    make_deterministic(job)
    task = build_task(job, site, torch.device("cpu"))
    task.model.train()
    weights = list(task.model.parameters())
    optimizer = torch.optim.AdamW(weights, betas=job.trainer.betas, weight_decay=job.trainer.weight_decay)
    losses = []
    for step in range(2):
        rate = warmup_cosine(step, job.trainer.learning_rate, job.trainer.warmup_steps, job.total_steps)
        optimizer.param_groups[0]["lr"] = rate
        both = [task.losses(task.batch(2 * step + rank))["loss"] for rank in range(2)]
        gradients = [torch.autograd.grad(loss, weights) for loss in both]
        for weight, first, second in zip(weights, *gradients, strict=True):
            weight.grad = (first + second) / 2
        torch.nn.utils.clip_grad_norm_(weights, job.trainer.gradient_clip)
        optimizer.step()
        losses += [loss.item() for loss in both]
    model = parameters(task.model)
    found = left(trained, 0)["model"]
    torch.testing.assert_close(found, model, rtol=1e-4, atol=1e-5)
    assert torch.load(trained / "report.pt", weights_only=True)["loss"] == pytest.approx(sum(losses) / 4, rel=1e-5)


def test_what_is_frozen_stays_in_both_and_the_rest_is_trained(job: Job, site: Site, tmp_path: Path) -> None:
    frozen = job.changed("trainer", frozen=["swinViT"])
    before = parameters(build_model(frozen))
    train_two(frozen, site, tmp_path)
    for rank in range(2):
        after = left(tmp_path, rank)["model"]
        assert all(torch.equal(after[name], before[name]) == name.startswith("swinViT.") for name in before)


def test_one_process_takes_the_batch_of_the_step_and_several_share_them_out() -> None:
    assert [Ranks().batch_number(step) for step in range(3)] == [0, 1, 2]
    assert sorted(Ranks(rank, 3).batch_number(step) for rank in range(3) for step in range(4)) == list(range(12))


@pytest.mark.parametrize(
    ("size", "error", "broken"),
    [(2, MemoryError, True), (2, KeyboardInterrupt, True), (2, RoundFailedError, False), (1, MemoryError, False)],
)
def test_a_process_knows_when_it_has_left_the_others_waiting(
    size: int, error: type[BaseException], broken: bool
) -> None:
    ranks = Ranks(0, size)
    with pytest.raises(error), ranks.together():
        raise error("a reason")
    assert ranks.is_broken is broken
