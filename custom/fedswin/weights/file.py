"""The weights file: tensors, the job that made them, and where they come from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedswin.config import Job, parse_job
from fedswin.durable import written_whole
from fedswin.errors import FedSwinError

_FORMAT = "fedswin-weights-1"
_PICKLED = re.compile(r"Unsupported global: GLOBAL (\S+)")
"""How torch tells the class that a file cannot be read without."""


@dataclass(frozen=True)
class Weights:
    """A model's parameters with all that is needed to use them.

    Attributes:
        tensors: the floating-point parameters by name, on the CPU.
        job: the job that made them: model, orientation (RAS), spacing, HU window, ROI, classes.
        provenance: round, sites, cases and software versions, as plain values.
    """

    tensors: Mapping[str, Tensor]
    job: Job
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the tensors: sorted names, dtype, shape, bytes."""
        return tensors_digest(self.tensors)


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over ``tensors``: for each in the order of its name, the name, dtype, shape and bytes."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous().numpy()
        sha.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        sha.update(array.reshape(-1).data)
    return sha.hexdigest()


def parameters(model: nn.Module) -> dict[str, Tensor]:
    """Copy the model's floating-point parameters to the CPU; integer buffers are never part of them."""
    return {name: value.detach().cpu().clone() for name, value in model.named_parameters()}


def save_weights(path: Path, weights: Weights) -> None:
    """Write ``weights`` to ``path``, whole or not at all."""
    content = {
        "format": _FORMAT,
        "tensors": {name: tensor.detach().cpu().contiguous() for name, tensor in weights.tensors.items()},
        "job": weights.job.as_dict(),
        "orientation": "RAS",
        "provenance": dict(weights.provenance),
        "sha256": weights.digest,
    }
    save_whole(path, content)


def save_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` with ``torch.save``; a reader sees the old file or the new one, never a part.

    Raises:
        OSError: if it cannot be written, and then the old file is still there.
    """
    try:
        with written_whole(path) as file:
            torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # of a full disk torch says that a position is unexpected
            raise error.__context__ from None
        raise


def load_weights(path: Path) -> Weights:
    """Read a weights file of FedSwin.

    Raises:
        FedSwinError: if it cannot be read, is no FedSwin weights file, or does not match its own SHA-256.
    """
    content = read_tensor_file(path)
    if not is_own(content):
        raise FedSwinError(f"{path} is not a FedSwin weights file: expected the format '{_FORMAT}'.")
    return own_weights(content, path)


def read_tensor_file(path: Path) -> Any:
    """Read what ``torch.save`` wrote, as long as it is tensors and plain values.

    Raises:
        FedSwinError: if it cannot be read, or holds objects that need pickle.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FedSwinError(f"{path} does not exist.") from None
    except Exception as error:  # torch raises half a dozen types for a damaged file
        if needing := _PICKLED.search(str(error)):
            raise FedSwinError(_explain_pickle(path, needing[1])) from None
        raise FedSwinError(f"{path} is not a readable weights file ({type(error).__name__}).") from None


def is_own(content: Any) -> bool:
    """Tell whether what a file holds is a weights file of FedSwin."""
    return isinstance(content, dict) and content.get("format") == _FORMAT


def own_weights(content: Mapping[str, Any], path: Path) -> Weights:
    """Return the weights that a weights file of FedSwin holds.

    Args:
        content: what the file holds.
        path: the file, for messages.

    Raises:
        FedSwinError: if it does not match its own SHA-256.
    """
    weights = Weights(content["tensors"], parse_job(content["job"], str(path)), content["provenance"])
    if weights.digest != content["sha256"]:
        raise FedSwinError(f"{path}: the tensors do not match the file's SHA-256. The file is damaged; fetch it again.")
    return weights


def resolve_weights(path: Path, which: str = "best") -> Path:
    """Return the weights file that ``path`` means: a file itself, or ``global/<which>.pt`` of a run folder."""
    return path / "global" / f"{which}.pt" if path.is_dir() else path


def load_parameters(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy ``tensors`` into the model's parameters; names and shapes must be exactly the model's.

    Raises:
        FedSwinError: if a name is missing or unknown, or a shape differs.
    """
    own = dict(model.named_parameters())
    problem = mismatch(
        {name: tuple(p.shape) for name, p in own.items()}, {n: tuple(t.shape) for n, t in tensors.items()}
    )
    if problem:
        raise FedSwinError(f"{where} does not fit the model: {problem}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


def mismatch(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str | None:
    """Say how two sets of names and shapes differ, or return ``None`` if they do not."""
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    differ = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    parts = [f"missing {some(missing)}"] if missing else []
    parts += [f"unknown {some(unknown)}"] if unknown else []
    parts += [f"{name} has the shape {list(found[name])}, expected {list(expected[name])}" for name in differ[:3]]
    return "; ".join(parts) or None


def some(names: Sequence[str]) -> str:
    """List the first three of ``names``, and say how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _explain_pickle(path: Path, needed: str) -> str:
    copy = path.with_name(f"{path.stem}_tensors.pt")
    return (
        f"{path} holds an object of {needed} beside its tensors. Reading it means to run what the file says (pickle), "
        "so it is not read. If you trust the file, keep its tensors alone, and use the copy: "
        f"python -c \"import torch; torch.save(torch.load({str(path)!r}, weights_only=False)['state_dict'], "
        f"{str(copy)!r})\" with the key of the file's tensors for 'state_dict'; of a whole network, save what its "
        "state_dict() returns."
    )
