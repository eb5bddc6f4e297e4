"""The encoder alone: as a weights file of FedSwin, and under the names that codes of the paper's network load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from monai.networks.nets import SwinUNETR
from torch import Tensor

from fedswin.errors import FedSwinError
from fedswin.exporting.facts import facts
from fedswin.weights.dialects import ENCODER
from fedswin.weights.file import Weights, load_parameters, save_weights, save_whole


def encoder_of(weights: Weights) -> Weights:
    """Return the tensors of the encoder alone, with the same job and provenance.

    Raises:
        FedSwinError: if there are none, since ``federation.local`` kept them at the sites.
    """
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name.startswith(ENCODER)}
    if not tensors:
        raise FedSwinError(
            f"The model of the job '{weights.job.name}' has no tensor '{ENCODER}…', so there is no encoder to export. "
            "See federation.local in its job: what it names stays at the sites."
        )
    return Weights(tensors, weights.job, weights.provenance)


def save_encoder(weights: Weights, path: Path) -> None:
    """Write the encoder as a weights file of FedSwin, which ``torch.load(path, weights_only=True)`` reads."""
    save_weights(path, encoder_of(weights))


def save_swinvit(weights: Weights, path: Path) -> None:
    """Write the encoder for MONAI's ``SwinUNETR.load_from`` and for the published fine-tuning script."""
    encoder = encoder_of(weights)
    save_whole(path, {"state_dict": swinvit_state(encoder), **facts(encoder)})


def swinvit_state(encoder: Weights) -> dict[str, Tensor]:
    """Return the encoder under two sets of names, both of them over the same memory, so that a file holds it once.

    MONAI's ``SwinUNETR.load_from`` asks for the names of the published encoder, ``module.layers1…`` with ``mlp.fc1``.
    The published fine-tuning script strips ``module.`` and loads what then fits, so it finds nothing by these; it
    finds the second set, ``swinViT.layers1…`` with ``mlp.linear1``. The script looks for ``module.`` in the first name.
    Both sets include the integer position indices, which come from MONAI's own network.
    """
    job = encoder.job
    network = SwinUNETR(len(job.data.channels), out_channels=1, feature_size=job.model.feature_size)
    bare = {name.removeprefix(ENCODER): tensor for name, tensor in encoder.tensors.items()}
    load_parameters(network.swinViT, bare, "The encoder")
    state = _index_once(network.swinViT.state_dict())
    published = {"module." + name.replace("mlp.linear", "mlp.fc"): tensor for name, tensor in state.items()}
    return published | {f"{ENCODER}{name}": tensor for name, tensor in state.items()}


def _index_once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Let equal position indices, of 0.9 MB each, share their memory; together they would outweigh a small encoder."""
    indices = [tensor for tensor in state.values() if not tensor.is_floating_point()]
    return {name: next((same for same in indices if torch.equal(same, t)), t) for name, t in state.items()}
