"""What crosses between the server and a site, and how both come to hold the same model bit for bit.

``fp32`` sends the weights themselves both ways, since a float32 difference is not exact. ``fp16`` and ``int8`` send
encoded differences to the *published* model, which is the global model as the sites hold it after decoding. What the
encoding left out is added to what is sent next: error feedback on both sides (Tang et al., "DoubleSqueeze", ICML
2019). The server sends its aggregate and a site the model that it has trained, each with a feedback of its own:

    target = model + feedback
    difference = encode(target - published)
    feedback = target - (published + decode(difference))

Without feedback a step of less than half a scale would be lost in every round. With it, all that has been sent is off
by no more than what the last round left out. Everything is on the CPU, and no tensor is changed in place, so what has
been handed out stays as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from safetensors.torch import save
from torch import Tensor

from fedswin.config import Encoding
from fedswin.errors import FedSwinError
from fedswin.federation.encoding import Tensors, decode, encode, misfit
from fedswin.federation.refusal import UpdateRefusedError


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
        self._feedback: Tensors = {}

    def publish(self, aggregate: Tensors) -> None:
        """Make ``aggregate`` the next global model, or in 16 or 8 bits what the encoding leaves of it.

        Raises:
            FedSwinError: if a value is not finite. Nothing has changed then.
        """
        if self._encoding == "fp32":
            self.published = _finite(aggregate)
        else:
            self._difference, self._feedback = _encode(aggregate, self.published, self._feedback, self._encoding)
            self.published = _add(self.published, self._difference)
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

    def read(self, update: Tensors) -> Tensors:
        """Return the float32 model that a site's update stands for. Its values may be anything, infinite too.

        Raises:
            UpdateRefusedError: if the names, shapes or dtypes are not those of the published model so encoded.
        """
        if problem := misfit(update, self._encoding, self.published):
            raise UpdateRefusedError(problem)
        return update if self._encoding == "fp32" else _add(self.published, update)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers for `load_state_dict`. The differences are left out: all sites get the whole."""
        return {"published": self.published, "version": self.version, "feedback": self._feedback}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.published, self.version, self._feedback = state["published"], state["version"], state["feedback"]
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
        self._feedback: Tensors = {}

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
            self._published = download.tensors
        elif download.version != self._version:
            self._published = self._next(download)
        self._version = download.version
        return self._published

    def send(self, trained: Tensors) -> Tensors:
        """Return the update to send for the model ``trained``, which is float32, from the model received last.

        Raises:
            FedSwinError: if a value is not finite. Nothing has changed then.
        """
        if self._encoding == "fp32":
            return _finite(trained)
        update, self._feedback = _encode(trained, self._published, self._feedback, self._encoding)
        return update

    def state_dict(self) -> Tensors:
        """Return the feedback for `load_state_dict`. The model is left out: a site that starts again gets the whole."""
        return self._feedback

    def load_state_dict(self, state: Tensors) -> None:
        """Go on from what `state_dict` returned."""
        self._feedback = state

    def _next(self, download: Download) -> Tensors:
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
        return _add(self._published, download.tensors)


def wire_bytes(tensors: Tensors) -> int:
    """Return the bytes that ``tensors`` are sent as: NVFlare serialises each by itself, with safetensors."""
    return sum(len(save({name: tensor})) for name, tensor in tensors.items())


def _encode(model: Tensors, published: Tensors, feedback: Tensors, encoding: Encoding) -> tuple[Tensors, Tensors]:
    """Return the encoded differences from ``published`` to ``model`` and ``feedback``, and the next feedback."""
    difference: Tensors = {}
    left_out: Tensors = {}
    for name, base in published.items():
        target = model[name] + feedback.get(name, 0.0)
        encoded = encode(name, target - base, encoding)
        left_out[name] = target - (base + decode(name, encoded))
        _check_finite(name, left_out[name])  # if the target or its encoding is not, this is not either
        difference |= encoded
    return difference, left_out


def _add(published: Tensors, difference: Tensors) -> Tensors:
    return {name: base + decode(name, difference) for name, base in published.items()}


def _finite(tensors: Tensors) -> Tensors:
    for name, tensor in tensors.items():
        _check_finite(name, tensor)
    return tensors


def _check_finite(name: str, tensor: Tensor) -> None:
    if not tensor.isfinite().all():
        raise FedSwinError(
            f"{name} holds values that are not finite: the training has diverged. Lower the learning rate or the "
            "gradient clip, and start again from the last good model."
        )
