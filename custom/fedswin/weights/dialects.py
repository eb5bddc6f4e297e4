"""The dialects of Swin UNETR weights: every naming that is in use, read under FedSwin's own names, which are MONAI's.

MONAI reads two of them, each with its own function: ``SwinUNETR.load_from`` the published encoder, and
``filter_swinunetr`` the disruptive autoencoder. What either takes over, `translate` takes over too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedswin.checksum import file_sha256
from fedswin.errors import FedSwinError
from fedswin.pretraining.verdict import Learning, read_learning
from fedswin.weights.file import is_own, own_weights, read_tensor_file

ENCODER = "swinViT."
"""The prefix of the encoder's tensors, in pre-training and in MONAI's ``SwinUNETR``."""

_CONTAINERS = ("state_dict", "model", "model_state_dict")
"""Where training codes put the tensors in their checkpoints."""
_PARALLEL = "module."
"""What ``torch.nn.DataParallel`` and ``DistributedDataParallel`` put in front of every name."""


@dataclass(frozen=True)
class Dialect:
    """A naming of Swin UNETR's tensors.

    Attributes:
        name: what it is called.
        keys: how its keys look, for messages.
        renames: patterns of the beginnings of the keys that it takes over, and what takes their place. All other
            keys are of heads. The prefix ``module.`` is gone, and ``mlp.fc1`` has become ``mlp.linear1``.
    """

    name: str
    keys: str
    renames: tuple[tuple[str, str], ...]

    def rename(self, key: str) -> str | None:
        """Return our name of ``key``, or ``None`` if it is of a head."""
        for pattern, replacement in self.renames:
            if match := re.match(pattern, key):
                return match.expand(replacement) + key[match.end() :]
        return None


DIALECTS = (
    # model_swinvit.pt of the paper's authors
    Dialect("published encoder", "layers1.0.blocks.0.…", ((r"patch_embed\.|layers[1-4]", rf"{ENCODER}\g<0>"),)),
    # What the authors' code writes, which said swin_vit until August 2022
    Dialect("self-trained encoder", "swinViT.… or swin_vit.…", ((r"swinViT\.|swin_vit\.", ENCODER),)),
    # MONAI's SwinUNETR
    Dialect(
        "segmentation network",
        "swinViT.…, decoder5.… and out.…",
        ((r"swinViT\.", ENCODER), (r"(?:encoder|decoder)\d+\.|out\.", r"\g<0>")),
    ),
    # ssl_pretrained_weights.pth of MONAI (Valanarasu et al., "Disruptive Autoencoders", 2023): its stages lie a level
    # deeper, and its output layer, which makes an image, counts as a head
    Dialect(
        "disruptive autoencoder",
        "encoder.layers1.0.0.blocks.0.…",
        (
            (r"encoder\.(patch_embed\.|layers[1-4]\.0\.)(?:0\.)?", rf"{ENCODER}\1"),
            (r"(?:encoder|decoder)\d+\.", r"\g<0>"),
        ),
    ),
)
OWN = "FedSwin"
"""The dialect of our own weights files."""


@dataclass(frozen=True)
class InitialWeights:
    """What a weights file of any dialect gives a study to start from.

    Attributes:
        dialect: the dialect's name.
        tensors: the floating-point tensors under our names, on the CPU.
        heads: the file's keys of floating-point tensors that are no part of Swin UNETR, without ``module.``.
        buffers: how many tensors of integers, such as position indices, were left out; every model has its own.
        file_sha256: the SHA-256 of the file, if it is one.
        learning: whether the pre-training of FedSwin that made the file learns, if it says so.
    """

    dialect: str
    tensors: Mapping[str, Tensor]
    heads: Sequence[str] = field(default_factory=list)
    buffers: int = 0
    file_sha256: str | None = None
    learning: Learning | None = None


def read_initial_weights(path: Path) -> InitialWeights:
    """Read a weights file of any dialect.

    Raises:
        FedSwinError: if it cannot be read, needs pickle, holds no tensors, or does not match its own SHA-256.
    """
    content = read_tensor_file(path)
    own = is_own(content)
    found = InitialWeights(OWN, own_weights(content, path).tensors) if own else translate(state_dict(content, path))
    return replace(found, file_sha256=file_sha256(path), learning=_learning_of(content))


def _learning_of(content: Any) -> Learning | None:
    """Return what a weights file of FedSwin, or the form ``swinvit`` of it, says; ``None`` of any other file."""
    provenance = content.get("provenance") if isinstance(content, Mapping) else None
    return read_learning(provenance.get("learning")) if isinstance(provenance, Mapping) else None


def translate(state: Mapping[str, Tensor]) -> InitialWeights:
    """Give the tensors of a state dict our names.

    The dialect is the one that finds most tensors of the encoder, and of these the one that takes over most of
    all. A state dict of another network has no tensor of the encoder.

    Args:
        state: tensors by name, as a network of any dialect has them.
    """
    state = _without_prefix(_without_twins(state))
    floats = {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}
    dialect = max(DIALECTS, key=lambda dialect: _reach(dialect, floats))
    names = {key: dialect.rename(_monai_mlp(key)) for key in floats}
    return InitialWeights(
        dialect=dialect.name,
        tensors={name: floats[key].detach().float() for key, name in names.items() if name},
        heads=[key for key, name in names.items() if not name],
        buffers=len(state) - len(floats),
    )


def state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint: at its top level, or below ``state_dict``, ``model``, ``model_state_dict``.

    Args:
        content: what the file holds.
        path: the file, for messages.

    Raises:
        FedSwinError: if there are none.
    """
    top = content if isinstance(content, Mapping) else {}
    inner = next((top[key] for key in _CONTAINERS if isinstance(top.get(key), Mapping)), top)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise FedSwinError(
            f"{path} holds no tensors, neither at its top level nor below {', '.join(map(repr, _CONTAINERS))}; "
            f"at its top are: {', '.join(map(str, top)) or type(content).__name__}. Save a network's state_dict()."
        )
    return tensors


def _without_prefix(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if not all(key.startswith(_PARALLEL) for key in state):
        return state
    return {key.removeprefix(_PARALLEL): tensor for key, tensor in state.items()}


def _without_twins(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Leave out tensors of the published encoder that are there again under MONAI's names, as in our ``swinvit`` form.

    Those that have another value under the other name stay, to be reported as unused.
    """

    def twin(key: str) -> Tensor | None:
        return state.get(_monai_mlp(ENCODER + key.removeprefix(_PARALLEL))) if key.startswith(_PARALLEL) else None

    return {
        key: tensor for key, tensor in state.items() if (other := twin(key)) is None or not torch.equal(tensor, other)
    }


def _monai_mlp(key: str) -> str:
    """Give the layers of an MLP the names that they have in MONAI."""
    return re.sub(r"\.mlp\.fc([12])\.", r".mlp.linear\1.", key)


def _reach(dialect: Dialect, keys: Mapping[str, Tensor]) -> tuple[int, int]:
    """Count the keys that the dialect takes for the encoder's, and all that it takes over."""
    names = [name for name in map(dialect.rename, keys) if name]
    return sum(name.startswith(ENCODER) for name in names), len(names)
