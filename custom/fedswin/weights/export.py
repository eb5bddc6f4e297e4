"""The encoder in the forms that other tools load."""

from __future__ import annotations

from pathlib import Path

from monai.networks.nets import SwinUNETR
from torch import Tensor

from fedswin.errors import FedSwinError
from fedswin.output import refuse_output
from fedswin.weights.dialects import ENCODER
from fedswin.weights.file import Weights, load_parameters, load_weights, resolve_weights, save_weights, save_whole

FORMS = ("encoder", "swinvit")


def export(run: Path, form: str, out: Path, *, which: str = "best", overwrite: bool = False) -> int:
    """Write the encoder of a run (or of a weights file) to ``out``.

    Args:
        run: a run folder or a weights file.
        form: ``encoder`` is a FedSwin weights file with the encoder's tensors alone; ``swinvit`` is the
            file that MONAI's ``SwinUNETR.load_from`` reads.
        out: the file to write.
        which: ``best`` or ``last``, for a run folder.
        overwrite: replace ``out`` if it exists.

    Returns:
        The number of encoder parameters written.

    Raises:
        FedSwinError: if the run has no such model, ``out`` exists, or ``form`` is unknown.
    """
    if form not in FORMS:
        raise FedSwinError(f"--to {form}: unknown form; choose one of {', '.join(FORMS)}.")
    refuse_output(out, overwrite=overwrite, kind="a file", is_kind=Path.is_file)
    weights = load_weights(resolve_weights(run, which))
    encoder = {name: tensor for name, tensor in weights.tensors.items() if name.startswith(ENCODER)}
    if form == "encoder":
        save_weights(out, Weights(encoder, weights.job, weights.provenance))
    else:
        save_whole(out, {"state_dict": swinvit_state(weights)})
    return len(encoder)


def swinvit_state(weights: Weights) -> dict[str, Tensor]:
    """Return the encoder under the names that ``SwinUNETR.load_from`` reads.

    These are the names of the published pre-training code: the prefix ``module.`` and ``mlp.fc1`` and
    ``mlp.fc2``; they include the integer position indices, which come from MONAI's own network.
    """
    model = SwinUNETR(
        in_channels=len(weights.job.data.channels), out_channels=1, feature_size=weights.job.model.feature_size
    )
    encoder = {name.removeprefix(ENCODER): t for name, t in weights.tensors.items() if name.startswith(ENCODER)}
    load_parameters(model.swinViT, encoder, "the encoder")
    return {
        "module." + name.replace("mlp.linear", "mlp.fc"): tensor.clone()
        for name, tensor in model.swinViT.state_dict().items()
    }
