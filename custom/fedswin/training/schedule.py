"""The learning rate as a function of the study's step."""

from __future__ import annotations

import math


def warmup_cosine(step: int, base: float, warmup_steps: int, total_steps: int) -> float:
    """Linear warm-up from 0 to ``base``, then half a cosine down to 0 at ``total_steps``.

    It is a function of the step alone, so a site that missed rounds goes on at the study's step.
    """
    if step < warmup_steps:
        return base * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return base * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
