"""Keeps what a process sends: Python imports this file first, in every process that has its folder on ``PYTHONPATH``.

``FEDSWIN_TEST_CAPTURE`` names a folder. A site's process writes there what it hands to NVFlare's network, after all
filters: each message as an object, and each frame as the bytes that go to the socket, where TLS takes over. The
trainer, which talks to a process of its own site alone, is left out.
While the folder holds a file called ``hold`` no round is trained; a file called ``held`` says that one is to be.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import sys
import time
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_POLL_SECONDS = 0.1

_numbers = itertools.count()
_folder = Path(os.environ.get("FEDSWIN_TEST_CAPTURE", ""))


def _keep_messages(utils: ModuleType) -> None:
    encode = utils.encode_payload

    @functools.wraps(encode)
    def keep_and_encode(message, encoding_key=utils.MessageHeaderKey.PAYLOAD_ENCODING, fobs_ctx=None):
        is_chunk = message.get_header("cn__channel") == "sm__STREAM"  # of one that was kept as a whole
        if not is_chunk and not message.get_header(encoding_key):
            content = pickle.dumps(message.payload)
            pending = _folder / f"{os.getpid()}-{next(_numbers)}.partial"
            pending.write_bytes(content)
            pending.rename(pending.with_suffix(".message"))
        return encode(message, encoding_key, fobs_ctx)

    utils.encode_payload = keep_and_encode


def _keep_frames(connection: ModuleType) -> None:
    send = connection.SfmConnection.send_frame

    @functools.wraps(send)
    def keep_and_send(self, prefix, headers, payload):
        with (_folder / f"{os.getpid()}.frames").open("ab") as file:
            file.write(pickle.dumps((headers, bytes(payload or b""))))
        return send(self, prefix, headers, payload)

    connection.SfmConnection.send_frame = keep_and_send


def _hold_training(site_trainer: ModuleType) -> None:
    train = site_trainer.SiteTrainer.train

    @functools.wraps(train)
    def held_train(self, number):
        hold = _folder / "hold"
        while hold.exists():
            (_folder / "held").touch()
            time.sleep(_POLL_SECONDS)
        return train(self, number)

    site_trainer.SiteTrainer.train = held_train


_PATCHES = {"fedswin.training.site_trainer": _hold_training}
if not any(Path(argument).parts[-2:] == ("federation", "trainer") for argument in sys.orig_argv):
    _PATCHES |= {"nvflare.fuel.f3.cellnet.utils": _keep_messages, "nvflare.fuel.f3.sfm.sfm_conn": _keep_frames}


class _Patcher:
    """Finds the modules of ``_PATCHES``, and patches them as soon as they have been run."""

    @staticmethod
    def find_spec(name: str, path: list[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in _PATCHES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def run_and_patch(module: ModuleType) -> None:
            run(module)
            _PATCHES[name](module)

        spec.loader.exec_module = run_and_patch
        return spec


if "FEDSWIN_TEST_CAPTURE" in os.environ:
    sys.meta_path.insert(0, _Patcher)
