"""The files of a bundle, laid out as MONAI's model zoo has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fedswin.errors import FedSwinError
from fedswin.exporting.bundle.inference import inference_config
from fedswin.exporting.bundle.metadata import metadata
from fedswin.segmentation.model import build_segmenter
from fedswin.weights.file import Weights, load_parameters

_LICENCE = """\
The files in configs/ were written by FedSwin and are under the Apache License, Version 2.0, as FedSwin is, and as is
MONAI, which has the network: https://www.apache.org/licenses/LICENSE-2.0

The weights in models/ are the work of the sites that trained them. Whoever passes this bundle on says here under which
terms these sites let others use them. As long as nothing stands here, ask before you use them beyond research.
"""
_LOGGING = """\
[loggers]
keys = root

[handlers]
keys = screen

[formatters]
keys = plain

[logger_root]
level = INFO
handlers = screen

[handler_screen]
class = StreamHandler
args = (sys.stdout,)
formatter = plain

[formatter_plain]
format = %(levelname)s %(message)s
"""


def write_bundle(weights: Weights, folder: Path, card: str) -> None:
    """Write a segmentation model as a MONAI bundle.

    Args:
        weights: one model of a ``finetune`` job.
        folder: where the files go; it is there and empty.
        card: the model card, Markdown, for ``README.md``.

    Raises:
        FedSwinError: if the model segments nothing, or its tensors are not those that its job names.
    """
    if weights.job.task != "finetune":
        raise FedSwinError(
            f"The model of the '{weights.job.task}' job '{weights.job.name}' segments nothing, so there is no bundle "
            "of it. Export it as 'encoder' or 'swinvit', or give a run of a 'finetune' job."
        )
    for name in ("configs", "models"):
        (folder / name).mkdir()
    _write_model(weights, folder / "models" / "model.pt")
    _write_json(folder / "configs" / "metadata.json", metadata(weights))
    _write_json(folder / "configs" / "inference.json", inference_config(weights.job))
    labels = {"background": 0, **weights.job.segmentation.written_values}
    _write_json(folder / "configs" / "labels.json", labels)
    (folder / "configs" / "logging.conf").write_text(_LOGGING)
    (folder / "LICENSE").write_text(_LICENCE)
    (folder / "README.md").write_text(card)


def _write_model(weights: Weights, path: Path) -> None:
    model = build_segmenter(weights.job)
    load_parameters(model, weights.tensors, f"The model of the job '{weights.job.name}'")
    torch.save(model.state_dict(), path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
