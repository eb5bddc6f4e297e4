"""Segmenting a volume with a window that slides over it: FedSwin's functions, and MONAI's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor

from fedswin.benchmarks.row import Row
from fedswin.benchmarks.setup import DEVICE_NAMES, NO_GPU, Setup, is_there
from fedswin.benchmarks.sides import Build, Work, in_turn, peak_row, rates
from fedswin.config import Job
from fedswin.data.loading import image_preprocessing
from fedswin.segmentation.ensemble import Ensemble
from fedswin.segmentation.inference import predict_classes, probability_blocks
from fedswin.segmentation.model import build_segmenter

KIND = "infer"
_MONAI = "MONAI"
_ROI = (64, 32, 32)
_SPACING, _QUICK_SPACING = 6.0, 8.0
"""In mm: coarse, since a network of this size sees some ten thousand voxels a second on a core."""


def rows(setup: Setup) -> Iterator[Row]:
    """Measure scoring and prediction of one case, and compare the labels."""
    for device in setup.devices:
        if not is_there(device):
            yield Row(KIND, "sliding windows on a GPU", not_measured=NO_GPU)
            continue
        data = {"roi": _ROI, "spacing": [_QUICK_SPACING if setup.quick else _SPACING] * 3}
        job = setup.finetuning(12, _ROI, device, data=data)
        case = setup.site.cases("training")[0].image
        for how, build in (("as in scoring", labels_by_scoring), ("as in prediction", labels_by_blocks)):
            what = f"a case {how}, feature size 12, {DEVICE_NAMES[device]}"
            setup.progress(what)
            sides: dict[str, Build] = {"ours": partial(build, job, case), "monai": partial(labels_by_monai, job, case)}
            runs = in_turn(sides, setup.repeats, setup.threads)
            voxels = runs["ours"][0].result.size / 1e3
            yield Row(
                KIND, what, "speed", "1000 voxels/s", rates(runs["ours"], voxels), _MONAI, rates(runs["monai"], voxels)
            )
            yield peak_row(KIND, what, _MONAI, runs)
            same = np.mean(runs["ours"][0].result == runs["monai"][0].result)
            yield Row(KIND, what, "labels that agree", "%", [100 * float(same)])


def labels_by_scoring(job: Job, case: Path) -> Work:
    """Make the work of finding each voxel's class as validation does."""
    ensemble, image = _ensemble(job), _image(job, case)
    return lambda: _array(predict_classes(ensemble.models[0], image, job, ensemble.device)[0])


def labels_by_blocks(job: Job, case: Path) -> Work:
    """Make the work of finding each voxel's class from blocks of probabilities, as prediction does."""
    ensemble, image = _ensemble(job), _image(job, case)

    def label() -> NDArray[np.uint8]:
        labels = torch.zeros(image.shape[1:], dtype=torch.uint8)
        for first, block in probability_blocks(ensemble, image):
            labels[..., first : first + block.shape[-1]] = block.argmax(0)
        return _array(labels)

    return label


def labels_by_monai(job: Job, case: Path) -> Work:
    """Make the work of finding each voxel's class with MONAI alone: its inferer and its modules."""
    stock = job.changed("model", attention="monai")
    ensemble, image = _ensemble(stock), _image(job, case)

    @torch.no_grad()
    def label() -> NDArray[np.uint8]:
        device = ensemble.device
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = sliding_window_inference(
                image[None].to(device),
                roi_size=job.data.roi,
                sw_batch_size=4,
                predictor=ensemble.models[0],
                overlap=job.segmentation.overlap,
                mode="gaussian",
            )
        return _array(logits.softmax(1).argmax(1)[0].cpu())

    return label


def _ensemble(job: Job) -> Ensemble:
    """Return one model as it is drawn: what it says is of no use, and as quickly said."""
    device = torch.device(job.trainer.device)
    return Ensemble([job], [build_segmenter(job).to(device).eval()], ["benchmark"], device)


def _image(job: Job, case: Path) -> Tensor:
    """Return the preprocessed case, (1, X, Y, Z)."""
    return image_preprocessing(job.data)({"image": str(case)})["image"].as_tensor()


def _array(labels: Tensor) -> NDArray[np.uint8]:
    """Return labels as what may pass between processes."""
    return labels.to(torch.uint8).numpy()
