"""The learning rate against MONAI's scheduler."""

from __future__ import annotations

import pytest
import torch
from monai.optimizers import WarmupCosineSchedule

from fedswin.training.schedule import warmup_cosine


@pytest.mark.parametrize(("warmup", "total"), [(5, 40), (0, 10), (3, 3)])
def test_it_is_monais_warmup_cosine(warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = WarmupCosineSchedule(optimizer, warmup_steps=warmup, t_total=total)
    for step in range(total):
        assert warmup_cosine(step, 0.4, warmup, total) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()
