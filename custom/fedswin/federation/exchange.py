"""What crosses between the server and a site, and how both come to hold the same model bit for bit.

``fp32`` sends the weights themselves both ways, since a float32 difference is not exact. ``fp16`` and ``int8`` send
encoded differences to the *published* model, which is the global model as the sites hold it after decoding. What the
encoding left out is added to what is sent next: error feedback on both sides (Tang et al., "DoubleSqueeze", ICML
2019). The server sends its aggregate and a site the model that it has trained, each with a feedback of its own:

    target = model + feedback
    difference = encode(target - published)
    feedback = target - (published + decode(difference))

Without feedback a step of less than half a scale would be lost in every round. With it, all that has been sent is off
by no more than what the last round left out. Everything that is kept or sent is on the CPU, and no tensor is changed in
place, so what has been handed out stays as it is.

Memory: what is computed on the way is a few hundred thousand values at a time, and of two versions of a model or of the
feedback, as a site goes from one to the other, only one tensor is there twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from fedswin.config import Encoding
from fedswin.errors import FedSwinError
from fedswin.federation.encoding import SCALE, Tensors, decode, encode, misfit
from fedswin.federation.one_by_one import OneByOne
from fedswin.federation.refusal import UpdateRefusedError

Piece = slice | EllipsisType
"""What of a tensor is worked on at a time."""

_PIECE = 2**16  # values: a piece and what is computed from it stay in a processor's cache


class Download(NamedTuple):
    """What the server sends to one site.

    Attributes:
        tensors: the published model, or the encoded differences to it from the version before.
        version: how many models had been published before this one.
        whole: whether it is the model.
    """

    tensors: Tensors
    version: int
    whole: bool


class ServerExchange:
    """The server's end.

    Args:
        encoding: ``federation.exchange``.
        published: the first global model: float32, without the parameters that sites keep to themselves.

    Attributes:
        published: the global model as every site holds it.
        version: how many models had been published before it.
    """

    def __init__(self, encoding: Encoding, published: Tensors) -> None:
        self.published = published
        self.version = 0
        self._encoding = encoding
        self._difference: Tensors = {}
        self._sender = _Sender(encoding)

    def publish(self, aggregate: Tensors) -> None:
        """Make ``aggregate`` the next global model, or in 16 or 8 bits what the encoding leaves of it.

        Raises:
            FedSwinError: if a value is not finite. Nothing has changed then.
        """
        if self._encoding == "fp32":
            self.published = _finite(aggregate)
        else:
            self._difference = self._sender.encode(aggregate, self.published)
            self.published = dict(_added(self.published, self._difference))
        self.version += 1

    def download_for(self, held: int | None) -> Download:
        """Return what brings a site to the published model: the differences, if it holds the version before.

        Args:
            held: the version that the site's last answer came from; ``None`` if it has not answered since it started,
                or since the server did.
        """
        if self._difference and held == self.version - 1:
            return Download(self._difference, self.version, whole=False)
        return Download(self.published, self.version, whole=True)

    def read(self, update: Tensors) -> Mapping[str, Tensor]:
        """Return the float32 model that a site's update stands for. Its values may be anything, infinite too.

        Its tensors are decoded as they are read, and again if they are read again.

        Raises:
            UpdateRefusedError: if the names, shapes or dtypes are not those of the published model so encoded.
        """
        if problem := misfit(update, self._encoding, self.published):
            raise UpdateRefusedError(problem)
        return update if self._encoding == "fp32" else _added(self.published, update)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers for `load_state_dict`. The differences are left out: all sites get the whole."""
        return {"published": self.published, "version": self.version, "feedback": dict(self._sender.feedback)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.published, self.version = state["published"], state["version"]
        self._sender = _Sender(self._encoding, state["feedback"])
        self._difference = {}


class SiteExchange:
    """A site's end.

    Args:
        encoding: ``federation.exchange``.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._published: Tensors = {}
        self._version: int | None = None
        self._sender = _Sender(encoding)

    def receive(self, download: Download) -> Tensors:
        """Return the published model, with the very bits that the server holds.

        What else the server sent, such as initial values of ``federation.local``, is no part of ``download``.

        Differences that the site has added already, since its answer came too late, are not added again.

        Raises:
            FedSwinError: if these are differences to a model that the site does not hold, or they do not fit it.
        """
        if self._encoding == "fp32":
            return download.tensors
        if download.whole:
            self._published = dict(download.tensors)
        elif download.version != self._version:
            self._take_over(download)
        self._version = download.version
        return dict(self._published)

    def send(self, trained: Mapping[str, Tensor]) -> Tensors:
        """Return the update to send for the model ``trained``, from the model received last.

        Args:
            trained: float32, on any device. The update shares no memory with it, so that it can be trained on.

        Raises:
            FedSwinError: if a value is not finite. Nothing has changed then.
        """
        if self._encoding == "fp32":
            return _finite({name: tensor.detach().cpu().clone() for name, tensor in trained.items()})
        return self._sender.encode(trained, self._published)

    def state_dict(self) -> Tensors:
        """Return the feedback for `load_state_dict`. The model is left out: a site that starts again gets the whole."""
        return dict(self._sender.feedback)

    def load_state_dict(self, state: Tensors) -> None:
        """Go on from what `state_dict` returned."""
        self._sender = _Sender(self._encoding, state)

    def _take_over(self, download: Download) -> None:
        if self._version != download.version - 1:
            raise FedSwinError(
                f"Global model {download.version} came as differences, and this site does not hold the one before: "
                "it has started again. It takes part in the next round, for which it is sent the whole model."
            )
        if problem := misfit(download.tensors, self._encoding, self._published):
            raise FedSwinError(
                f"Global model {download.version} does not fit the one before: {problem}. "
                "Install the same version of fedswin as the server."
            )
        self._version = None  # of a part of the tensors, until all are there
        self._published.update(_added(self._published, download.tensors))


def serialised(tensors: Tensors) -> Iterator[bytes]:
    """Yield what ``tensors`` are sent as: NVFlare serialises each by itself, with safetensors."""
    return (save({name: tensor}) for name, tensor in tensors.items())


def wire_bytes(tensors: Tensors) -> int:
    """Return how many bytes ``tensors`` are sent as."""
    return sum(map(len, serialised(tensors)))


class _Sender:
    """Encodes the differences that one end sends, with feedback of what it has left out.

    Attributes:
        feedback: what has been left out so far, by name; none before the first call.
    """

    def __init__(self, encoding: Encoding, feedback: Mapping[str, Tensor] | None = None) -> None:
        self.feedback = dict(feedback or {})
        self._encoding = encoding

    def encode(self, model: Mapping[str, Tensor], published: Tensors) -> Tensors:
        """Return the encoded differences from ``published`` to ``model`` and the feedback.

        First all is encoded and checked, then the feedback is formed again, tensor by tensor, and takes the place of
        the one before. So an error changes nothing, and yet no second feedback is held.

        Raises:
            FedSwinError: if a value is not finite.
        """
        difference: Tensors = {}
        for name, base in published.items():
            difference |= self._encode(name, model[name].detach().cpu(), base)
        for name, base in published.items():
            self.feedback[name] = self._left_out(name, model[name].detach().cpu(), base, difference)
        return difference

    def _encode(self, name: str, model: Tensor, base: Tensor) -> Tensors:
        parts = []
        for piece in _pieces(base):
            target = self._target(name, model, piece)
            parts.append(encode(name, target - base[piece], self._encoding))
            _check_finite(name, target - (base[piece] + decode(name, parts[-1])))  # nor is it if the target is not
        return {key: torch.cat([part[key] for part in parts]) if parts[1:] else parts[0][key] for key in parts[0]}

    def _left_out(self, name: str, model: Tensor, base: Tensor, difference: Tensors) -> Tensor:
        left_out = torch.empty_like(base)
        for piece in _pieces(base):
            left_out[piece] = self._target(name, model, piece) - (base[piece] + _decode(name, difference, piece))
        return left_out

    def _target(self, name: str, model: Tensor, piece: Piece) -> Tensor:
        return model[piece] + (self.feedback[name][piece] if name in self.feedback else 0.0)


def _added(published: Tensors, difference: Tensors) -> Mapping[str, Tensor]:
    """Return ``published`` with the encoded ``difference`` added, tensor by tensor."""

    def add(name: str) -> Tensor:
        base = published[name]
        added = torch.empty_like(base)
        for piece in _pieces(base):
            torch.add(base[piece], _decode(name, difference, piece), out=added[piece])
        return added

    return OneByOne(published, add)


def _decode(name: str, payload: Tensors, piece: Piece) -> Tensor:
    return decode(name, {key: payload[key][piece] for key in (name, name + SCALE) if key in payload})


def _pieces(tensor: Tensor) -> Iterator[Piece]:
    """Yield the indices of whole slices along dimension 0, to which an encoding can be applied one by one."""
    if tensor.numel() <= _PIECE:
        yield ...
        return
    rows = max(1, _PIECE * len(tensor) // tensor.numel())
    yield from (slice(start, start + rows) for start in range(0, len(tensor), rows))


def _finite(tensors: Tensors) -> Tensors:
    for name, tensor in tensors.items():
        for piece in _pieces(tensor):
            _check_finite(name, tensor[piece])
    return tensors


def _check_finite(name: str, tensor: Tensor) -> None:
    if not tensor.isfinite().all():
        raise FedSwinError(
            f"{name} holds values that are not finite: the training has diverged. Lower the learning rate or the "
            "gradient clip, and start again from the last good model."
        )
