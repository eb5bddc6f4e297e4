"""The segmentation network as other tools have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedswin.segmentation.model import build_segmenter
from fedswin.weights.file import Weights, load_parameters


def stock_network(weights: Weights) -> nn.Module:
    """Return MONAI's own ``SwinUNETR`` with the model's tensors, in evaluation mode, without gradient checkpointing.

    Raises:
        FedSwinError: if the tensors are not those of the job's network.
    """
    job = weights.job.changed("model", attention="monai", gradient_checkpointing=False)
    network = build_segmenter(job)
    load_parameters(network, weights.tensors, f"The model of the job '{job.name}'")
    return network.eval()


def noise(weights: Weights, batch: int) -> Tensor:
    """Return a batch of sub-volumes of the job's size, (batch, channels, X, Y, Z), always the same values of 0 to 1."""
    data = weights.job.data
    return torch.rand(batch, len(data.channels), *data.roi, generator=torch.Generator().manual_seed(0))
