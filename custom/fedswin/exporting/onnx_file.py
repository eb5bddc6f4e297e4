"""The segmentation network as ONNX, for runtimes that know no PyTorch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedswin.durable import written_whole
from fedswin.errors import FedSwinError, needs_extra
from fedswin.exporting.facts import facts
from fedswin.exporting.network import noise, stock_network
from fedswin.weights.file import Weights

IMAGE, LOGITS = "image", "logits"
TOLERANCE = 1e-4
"""Of the largest logit."""


def save_onnx(weights: Weights, path: Path) -> None:
    """Export the network at the job's ROI, for batches of any size, with its facts as the file's metadata.

    Raises:
        FedSwinError: if the extra ``export`` is not installed, the tensors are not those of the job's network, or ONNX
            Runtime computes something else than PyTorch.
    """
    with needs_extra("export", "An export to ONNX"):
        import onnx
        import onnxruntime
        import onnxscript
    del onnxruntime, onnxscript
    model = _exported(weights)
    for name, value in facts(weights).items():
        model.metadata_props.append(onnx.StringStringEntryProto(key=name, value=json.dumps(value)))
    content = model.SerializeToString()
    difference = difference_from(weights, content)
    if not difference <= TOLERANCE:  # as NaN is not, either
        raise FedSwinError(
            f"ONNX Runtime's logits differ from PyTorch's by {difference:.1e} of the largest one, and may by "
            f"{TOLERANCE:.0e}. Nothing is written. Try other versions of onnx, onnxscript and onnxruntime."
        )
    with written_whole(path) as file:
        file.write(content)


def difference_from(weights: Weights, model: bytes | str) -> float:
    """Return how far the logits of an ONNX model are from the network's on noise, as a part of the largest logit.

    Args:
        weights: the model that it was made of, or is compared with.
        model: the file's content, or its path.
    """
    with needs_extra("export", "ONNX"):
        import onnxruntime
    image = noise(weights, batch=1)
    with torch.no_grad():
        expected = stock_network(weights)(image).numpy()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [found] = session.run([LOGITS], {IMAGE: image.numpy()})
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _exported(weights: Weights) -> Any:
    example: tuple[Tensor, ...] = (noise(weights, batch=2),)  # with one in the batch, its size would count as fixed
    with _quiet():
        program = torch.onnx.export(
            stock_network(weights),
            example,
            input_names=[IMAGE],
            output_names=[LOGITS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise FedSwinError("torch.onnx.export gave no model. Try another version of torch.")
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out that torchvision, of which the network uses nothing, is not there, and what libraries will change."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
