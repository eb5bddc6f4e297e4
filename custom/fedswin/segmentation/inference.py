"""Segmenting a whole volume with a window that slides over it."""

from __future__ import annotations

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from fedswin.config import Job


@torch.no_grad()
def predict_classes(model: nn.Module, image: Tensor, job: Job, device: torch.device) -> Tensor:
    """Return the class index of every voxel.

    Args:
        model: the segmentation network, in evaluation mode.
        image: a preprocessed image, (1, X, Y, Z).
        job: decides window and overlap.
        device: where the model lives.

    Returns:
        Class indices on the CPU, (1, X, Y, Z).
    """
    logits = sliding_window_inference(
        image[None].to(device),
        roi_size=job.data.roi,
        sw_batch_size=4,
        predictor=model,
        overlap=job.segmentation.overlap,
        mode="gaussian",
    )
    return logits.argmax(dim=1).cpu()
