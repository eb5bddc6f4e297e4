"""The segmentation network: MONAI's Swin UNETR (paper, section 3.2)."""

from __future__ import annotations

import torch
from monai.networks.nets import SwinUNETR

from fedswin.config import Job
from fedswin.swin.encoder import set_attention


def build_segmenter(job: Job) -> SwinUNETR:
    """Return the Swin UNETR of ``job``, initialised from the job's seed.

    It maps (B, channels, X, Y, Z) to logits (B, 1 + classes, X, Y, Z); channel 0 is background.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        network = SwinUNETR(
            in_channels=len(job.data.channels),
            out_channels=1 + len(job.segmentation.classes),
            feature_size=job.model.feature_size,
            use_checkpoint=job.model.gradient_checkpointing,
        )
    set_attention(network, job.model)
    return network
