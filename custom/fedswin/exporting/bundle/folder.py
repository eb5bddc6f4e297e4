"""The files of a bundle, laid out as MONAI's model zoo has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fedswin.errors import FedSwinError
from fedswin.exporting.bundle.inference import inference_config
from fedswin.exporting.bundle.metadata import OWN_PART, metadata
from fedswin.exporting.facts import read_object
from fedswin.exporting.network import stock_network
from fedswin.weights.file import Weights

_METADATA = Path("configs", "metadata.json")

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


def write_bundle(weights: Weights, folder: Path) -> None:
    """Write a segmentation model as a MONAI bundle, but for its ``README.md``.

    Args:
        weights: one model of a ``finetune`` job.
        folder: where the files go; it is there and empty.

    Raises:
        FedSwinError: if the tensors are not those of the job's network.
    """
    for name in ("configs", "models"):
        (folder / name).mkdir()
    torch.save(stock_network(weights).state_dict(), folder / "models" / "model.pt")
    _write_json(folder / _METADATA, metadata(weights))
    _write_json(folder / "configs" / "inference.json", inference_config(weights.job))
    labels = {"background": 0, **weights.job.segmentation.written_values}
    _write_json(folder / "configs" / "labels.json", labels)
    (folder / "configs" / "logging.conf").write_text(_LOGGING)
    (folder / "LICENSE").write_text(_LICENCE)


def noted_in(folder: Path) -> dict[str, Any]:
    """Return what the metadata of a bundle say for FedSwin: the job and digests; nothing of a bundle by others.

    Raises:
        FedSwinError: if there is no bundle, or its metadata cannot be read.
    """
    path = folder / _METADATA
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise FedSwinError(f"{path} cannot be read ({type(error).__name__}). Give a bundle that is whole.") from None
    noted = read_object(text, path).get(OWN_PART)
    return noted if isinstance(noted, dict) else {}


def is_bundle(folder: Path) -> bool:
    """Tell whether ``folder`` is a bundle that FedSwin wrote."""
    try:
        return bool(noted_in(folder))
    except FedSwinError:
        return False


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
