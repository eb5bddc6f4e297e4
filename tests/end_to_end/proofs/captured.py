"""What a site's processes sent, as ``capture/sitecustomize.py`` has kept it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from nvflare.apis.fl_context import FLContext
from nvflare.private.admin_defs import Message as AdminMessage
from torch import Tensor

_FOLDER = Path(__file__).with_name("capture")
_TO_THE_TRAINER = "client_api."
"""Begins the topic of an answer that a job's process gives to the trainer on its own machine."""


class Message(NamedTuple):
    """A message that a process handed to NVFlare's network.

    Attributes:
        process: the id of the process.
        payload: the content, before it is serialised.
    """

    process: str
    payload: Any

    @property
    def task(self) -> str:
        """The task that this answers, or an empty string if it is no answer."""
        return "" if self.topic else self._headers.get("__task_name__", "")

    @property
    def topic(self) -> str:
        """What it is about, or an empty string."""
        return self._headers.get("__topic__", "")

    @property
    def job_id(self) -> str:
        """The job that an answer or an event is of."""
        about = self._headers.get("__peer_props__") or self._headers["__peer_ctx__"].get_all_public_props()
        return about["__run_num__"]

    @property
    def _headers(self) -> dict[str, Any]:
        return self.payload.get("__headers__", {}) if isinstance(self.payload, dict) else {}


def watch(folder: Path) -> dict[str, str]:
    """Return the environment of processes whose messages are to be kept in ``folder``, and make that."""
    folder.mkdir(parents=True)
    path = os.pathsep.join(filter(None, [str(_FOLDER), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "FEDSWIN_TEST_CAPTURE": str(folder)}


def messages(folder: Path) -> list[Message]:
    """Return what was kept in ``folder``, without what a job's process said to its own trainer."""
    found = [Message(path.name.partition("-")[0], pickle.loads(path.read_bytes())) for path in folder.glob("*.message")]
    return [message for message in found if not _is_for_the_trainer(message.payload)]


def _is_for_the_trainer(payload: Any) -> bool:
    is_dict = isinstance(payload, dict)
    return is_dict and ("session_id" in payload or str(payload.get("reply_topic")).startswith(_TO_THE_TRAINER))


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value that is in ``value``, however deep, with the keys on the way to it.

    Raises:
        TypeError: if something is in it that is neither a container nor a plain value.
    """
    if isinstance(value, FLContext):
        value = value.get_all_public_props()
    elif isinstance(value, AdminMessage):
        value = vars(value)
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part, path)
    elif isinstance(value, Enum):
        yield path, value.value
    elif isinstance(value, Tensor | bytes | str | int | float | None):
        yield path, value
    else:
        raise TypeError(f"{path} is a {type(value).__name__}")
