"""From one job's model to the next: which tensors go over, which are new, which do not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Size, Tensor

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.pretraining.verdict import PAGE
from fedswin.tasks import build_model
from fedswin.weights.dialects import DIALECTS, ENCODER, OWN, InitialWeights
from fedswin.weights.file import parameters, some, tensors_digest
from fedswin.weights.local import frozen_names

_PATCH_EMBEDDING = f"{ENCODER}patch_embed.proj.weight"
"""(C, input channels, 2, 2, 2): the one tensor of the encoder that knows the number of input channels."""
_PARTS = {
    "patch embedding": r"swinViT\.patch_embed\.",
    **{f"encoder stage {stage}": rf"swinViT\.layers{stage}" for stage in (1, 2, 3, 4)},
    "decoder": r"(encoder|decoder)\d+\.",  # MONAI's encoder1 to encoder10 are convolutions on the way to the decoder
    "output layer": r"out\.",
    "heads": "",
}


class PartCount(NamedTuple):
    """How many tensors of a part of the network were taken over, are new, and were left unused."""

    matched: int
    new: int
    unused: int


@dataclass(frozen=True)
class Handover:
    """The initial state of a job, and how it came about.

    Attributes:
        tensors: every parameter of the job's model.
        matched: names taken over from the weights.
        new: names that keep the initialisation of the job's seed.
        unfit: those of the new ones that the weights hold in another shape, with that shape.
        unused: names that the weights hold and the model has no place for.
        source: the weights, if there are any.
    """

    tensors: Mapping[str, Tensor]
    matched: list[str]
    new: list[str]
    unfit: Mapping[str, Size]
    unused: list[str]
    source: InitialWeights | None = None

    def summary(self) -> str:
        """One line for a person."""
        encoder = sum(name.startswith(ENCODER) for name in self.matched)
        return (
            f"{len(self.matched)} tensors matched ({encoder} of the encoder), {len(self.new)} new "
            f"({len(self.unfit)} of another shape), {len(self.unused)} unused"
        )

    @property
    def warning(self) -> str:
        """What a person should know of the weights, in a line; empty if nothing."""
        learning = self.source.learning if self.source else None
        if not learning or not learning.is_bad:
            return ""
        what = "was at chance" if learning.verdict == "at chance" else "had collapsed"
        return f"this encoder {what}: {learning.line}. What to do: {PAGE}"

    def parts(self) -> dict[str, PartCount]:
        """Count the tensors by part of the network; a part without any is left out."""
        matched, new, unused = (Counter(map(_part, names)) for names in (self.matched, self.new, self.unused))
        counts = {part: PartCount(matched[part], new[part], unused[part]) for part in _PARTS}
        return {part: count for part, count in counts.items() if any(count)}

    def provenance(self) -> dict[str, Any]:
        """Return plain values for ``provenance.json``: ``handover``, how many tensors were taken over and whether the
        pre-training that made them learns, and ``parent``, the hashes of the weights; ``None`` both if the model starts
        from its seed alone."""
        if not self.source:
            return {"handover": None, "parent": None}
        handover: dict[str, Any] = {
            "dialect": self.source.dialect,
            "matched": len(self.matched),
            "matched_encoder": sum(name.startswith(ENCODER) for name in self.matched),
            "new": len(self.new),
            "other_shape": len(self.unfit),
            "unused": len(self.unused),
            "integer_buffers": self.source.buffers,
        }
        if self.source.learning:
            handover["learning"] = self.source.learning.as_dict()
        parent = {"file_sha256": self.source.file_sha256, "tensors_sha256": tensors_digest(self.source.tensors)}
        return {"handover": handover, "parent": parent}


def initial_state(job: Job, source: InitialWeights | None = None, where: str = "the weights") -> Handover:
    """Return the parameters a study starts from: the job's seed, overlaid with the weights of ``source``.

    Args:
        job: the job.
        source: what a weights file gave.
        where: the file, for messages.

    Raises:
        FedSwinError: if ``trainer.frozen`` does not fit the model, no tensor of the encoder matches, or one has another
            shape; only the patch embedding may have another number of input channels, and is new then.
    """
    fresh = parameters(build_model(job))
    frozen_names(fresh, job.trainer.frozen)
    given = source.tensors if source else {}
    unfit = {name: given[name].shape for name in fresh if name in given and given[name].shape != fresh[name].shape}
    matched = [name for name in fresh if name in given and name not in unfit]
    if source:
        _refuse_strangers([*matched, *unfit], source, where)
        _refuse_misfit(fresh, unfit, where)
    return Handover(
        tensors={**fresh, **{name: given[name] for name in matched}},
        matched=matched,
        new=[name for name in fresh if name not in given or name in unfit],
        unfit=unfit,
        unused=[name for name in given if name not in fresh] + list(source.heads if source else ()),
        source=source,
    )


def _refuse_strangers(known: list[str], source: InitialWeights, where: str) -> None:
    if any(name.startswith(ENCODER) for name in known):
        return
    forms = "; ".join(f"{dialect.name} ({dialect.keys})" for dialect in DIALECTS)
    first = some([*source.tensors, *source.heads])
    raise FedSwinError(
        f"{where}: none of the tensors matches the Swin encoder. The first are {first}. "
        f"Known are weights files of {OWN}, and with or without 'module.' in front: {forms}. "
        "Rename the keys to one of these forms, or choose a file of a Swin UNETR."
    )


def _refuse_misfit(fresh: Mapping[str, Tensor], unfit: Mapping[str, Size], where: str) -> None:
    encoder = [name for name in unfit if name.startswith(ENCODER)]
    if not encoder or (encoder == [_PATCH_EMBEDDING] and _differs_in_channels_alone(fresh, unfit)):
        return
    name, total = encoder[0], sum(name.startswith(ENCODER) for name in fresh)
    width = f" ({unfit[_PATCH_EMBEDDING][0]})" if _PATCH_EMBEDDING in unfit else ""
    raise FedSwinError(
        f"{where}: {len(encoder)} of {total} encoder tensors have another shape than the job's model, such as {name}: "
        f"{list(unfit[name])} in the file, {list(fresh[name].shape)} in the model. "
        f"Set model.feature_size to that of the weights{width}, or choose weights of the same architecture."
    )


def _differs_in_channels_alone(fresh: Mapping[str, Tensor], unfit: Mapping[str, Size]) -> bool:
    width, _, *patch = unfit[_PATCH_EMBEDDING]
    own_width, _, *own_patch = fresh[_PATCH_EMBEDDING].shape
    return (width, patch) == (own_width, own_patch)


def _part(name: str) -> str:
    return next(part for part, pattern in _PARTS.items() if re.match(pattern, name))
