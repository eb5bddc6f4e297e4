"""Batches made ahead: the same ones, without waiting, with their errors, and with nothing left running."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
import torch

from fedswin.errors import FedSwinError
from fedswin.training.prefetch import made_ahead, on_device
from fedswin.training.trainer import Trainer
from fedswin.weights.file import parameters
from training import small_task
from training.small_task import SmallTask

CPU = torch.device("cpu")


class SlowTask(SmallTask):
    """Its batch takes 20 ms, and its step 100 ms."""

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(0.02)
        return super().batch(step)

    def losses(self, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        time.sleep(0.1)
        return super().losses(batch)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_each_is_made_once_in_order_and_at_most_one_ahead() -> None:
    asked: list[int] = []

    def make(number: int) -> int:
        asked.append(number)
        return number * number

    with closing(made_ahead(make, range(3, 7))) as made:
        for number in range(3, 7):
            assert next(made)[0] == number * number
            assert max(asked) <= number + 1
        assert list(made) == []
    assert asked == [3, 4, 5, 6]
    assert list(made_ahead(make, [])) == []


def test_only_the_first_step_of_a_run_waits() -> None:
    waited: list[float] = []
    Trainer(SlowTask(), small_task.job(), CPU).run(0, 5, lambda step, values: waited.append(values["waiting_seconds"]))
    assert waited[0] >= 0.01
    assert sorted(waited[1:])[2] < 0.005  # all but one, should the machine be busy


def test_the_model_is_the_one_that_a_loop_without_a_thread_makes() -> None:
    task, by_hand = SlowTask(), SmallTask()
    Trainer(task, small_task.job(), CPU).run(0, 3)
    trainer = Trainer(by_hand, small_task.job(), CPU)
    for step in range(3):  # a run of one step makes nothing ahead
        trainer.run(step, 1)
    torch.testing.assert_close(parameters(task.model), parameters(by_hand.model), rtol=0, atol=0)


def test_an_error_comes_up_at_the_step_that_needs_the_batch() -> None:
    task, done = SmallTask(), []

    def batch(step: int) -> object:
        if step == 2:
            raise OSError("no such disk")
        return SmallTask.batch(task, step)

    task.batch = batch  # type: ignore[assignment,method-assign]
    with pytest.raises(OSError, match="no such disk"):
        Trainer(task, small_task.job(), CPU).run(0, 5, lambda step, values: done.append(step))
    assert done == [0, 1]
    assert threads() == []


def test_nothing_is_left_running_when_a_step_fails_or_the_run_ends() -> None:
    seen: list[list[str]] = []
    Trainer(SlowTask(), small_task.job(), CPU).run(0, 2, lambda step, values: seen.append(threads()))
    assert len(seen[0]) == 1
    assert threads() == []
    with pytest.raises(FedSwinError, match="not finite"):
        Trainer(SlowTask(breaks_at=1), small_task.job(), CPU).run(0, 5)
    assert threads() == []


def test_for_a_cpu_a_batch_stays_as_it_is() -> None:
    batch = SmallTask().batch(0)
    assert on_device(batch, CPU) is batch
