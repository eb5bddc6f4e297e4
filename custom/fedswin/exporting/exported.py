"""What an exported file, of whatever form, is compared by."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedswin.config import parse_job
from fedswin.errors import FedSwinError, needs_extra
from fedswin.exporting.bundle import noted_in
from fedswin.exporting.facts import read_object
from fedswin.exporting.onnx_file import TOLERANCE, difference_from
from fedswin.exporting.torchscript import FACTS, NETWORK
from fedswin.weights.dialects import ENCODER, read_initial_weights
from fedswin.weights.file import Weights, read_tensor_file, tensors_digest


@dataclass(frozen=True)
class Exported:
    """What an exported file is compared by.

    Attributes:
        job_sha256: the digest of the job in it, if it says which that is.
        is_of: tells whether its tensors are those of a model.
    """

    job_sha256: str | None
    is_of: Callable[[Weights], bool]


def read_exported(path: Path) -> Exported:
    """Read what an exported file, of whatever form, is compared by.

    Raises:
        FedSwinError: if it cannot be read.
    """
    if path.is_dir():
        return _bundle(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    return _torchscript(path) if _is_torchscript(path) else _tensor_file(path)


def _tensor_file(path: Path) -> Exported:
    content = read_tensor_file(path)
    job = content.get("job") if isinstance(content, dict) else None
    tensors = read_initial_weights(path).tensors
    return Exported(_digest_of(job, path), lambda weights: _same(tensors, weights))


def _bundle(folder: Path) -> Exported:
    noted = noted_in(folder)
    tensors = read_initial_weights(folder / "models" / "model.pt").tensors
    return Exported(noted.get("job_sha256"), lambda weights: _same(tensors, weights))


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(f"/extra/{FACTS}") for name in archive.namelist())


def _torchscript(path: Path) -> Exported:
    extra = {FACTS: ""}
    try:
        module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    except RuntimeError as error:
        raise FedSwinError(f"{path} is not a readable TorchScript file ({type(error).__name__}).") from None
    tensors = {name.removeprefix(f"{NETWORK}."): tensor for name, tensor in module.named_parameters()}
    job = read_object(extra[FACTS], path).get("job")
    return Exported(_digest_of(job, path), lambda weights: _same(tensors, weights))


def _onnx(path: Path) -> Exported:
    """The names of most of its tensors are lost, so the logits are compared, and the SHA-256 of the model it notes."""
    with needs_extra("export", "To check an ONNX file"):
        import onnx
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's own types, which differ by version
        raise FedSwinError(f"{path} is not a readable ONNX file ({type(error).__name__}).") from None
    facts = {entry.key: entry.value for entry in model.metadata_props}

    def is_of(weights: Weights) -> bool:
        noted = facts.get("tensors_sha256") == json.dumps(weights.digest)
        return noted and difference_from(weights, model.SerializeToString()) <= TOLERANCE

    return Exported(_digest_of(read_object(facts["job"], path) if "job" in facts else None, path), is_of)


def _digest_of(job: Any, path: Path) -> str | None:
    return parse_job(job, str(path)).digest if job else None


def _same(tensors: Mapping[str, torch.Tensor], weights: Weights) -> bool:
    """Tell whether they are all tensors of the model, or all those of its encoder."""
    encoder = {name: tensor for name, tensor in weights.tensors.items() if name.startswith(ENCODER)}
    return tensors_digest(tensors) in (weights.digest, tensors_digest(encoder))
