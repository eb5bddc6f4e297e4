"""In which floating-point numbers a step is made: float32, or matrix products and convolutions in bfloat16."""

from __future__ import annotations

import torch

from fedswin.config import Job, Precision

_LEAST_FEATURE_SIZE = 24
"""Of pre-training in bfloat16 on a CPU: the layers of a smaller encoder are so narrow that converting costs more."""


def pick_precision(job: Job, device: torch.device) -> tuple[Precision, str]:
    """Return the precision of a job's steps on ``device``, and the reason for it.

    With ``trainer.amp`` it is bfloat16 on a GPU, and on a CPU that multiplies in it, wherever that is faster.
    Parameters, optimizer, losses, scores, and on a CPU the windows' attention stay in float32.
    """
    if not job.trainer.amp:
        return "float32", "trainer.amp is off"
    if device.type == "cuda":
        return "bfloat16", "trainer.amp"
    if not cpu_has_bfloat16():
        return "float32", "this processor has no instructions for bfloat16"
    if job.task == "pretrain" and job.model.feature_size < _LEAST_FEATURE_SIZE:
        return "float32", f"bfloat16 gains nothing on a CPU at feature size {job.model.feature_size}"
    return "bfloat16", "trainer.amp, and this processor has instructions for it"


def cpu_has_bfloat16() -> bool:
    """Tell whether the processor has AVX512-BF16 or AMX, without which bfloat16 is slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
