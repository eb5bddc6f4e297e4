"""Faults from outside: Python imports this file first, in every process that has its folder on ``PYTHONPATH``.

``FEDSWIN_TEST_FAULTS`` says what goes wrong, as ``[[fault, site, round], …]`` in JSON; the server's name is ``server``.
Each fault patches one function, once its module has been imported, so a process that does not need torch does not load
it. A fault that happens says so on the screen. Round r starts from global model r.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_DAY_SECONDS = 86400.0
_SLOW_SECONDS = 20.0
_DEADLINE_SECONDS = 300.0

_faults = [tuple(fault) for fault in json.loads(os.environ.get("FEDSWIN_TEST_FAULTS", "[]"))]


def _happens(fault: str, number: int) -> bool:
    """Whether ``fault`` is due in this process in this round; if it is, it is told."""
    arguments = sys.orig_argv
    name = arguments[arguments.index("--client") + 1] if "--client" in arguments else "server"
    is_due = (fault, name, number) in _faults
    if is_due:
        print(f"injected: {fault} at {name} in round {number}", flush=True)
    return is_due


def _break_answers(client: ModuleType) -> None:
    """``nan``, ``lacks a tensor``, ``another shape``: what a site sends. ``slow``, ``late``: when it does.

    ``upload breaks off``: after the first of the tensors, now and ever after.
    """
    answer = client.SiteWorker.answer

    @functools.wraps(answer)
    def broken_answer(self, name, task):
        reply, number = answer(self, name, task), task.current_round
        if not reply.params:
            return reply
        first = next(iter(reply.params))
        if _happens("nan", number):
            reply.params[first] = reply.params[first] * float("nan")
        if _happens("lacks a tensor", number):
            del reply.params[first]
        if _happens("another shape", number):
            reply.params[first] = reply.params[first].flatten()
        if _happens("slow", number):
            time.sleep(_SLOW_SECONDS)
        if _happens("late", number):
            _wait_for_state(number + 1)
        if _happens("upload breaks off", number):
            _break_off_upload()
        return reply

    client.SiteWorker.answer = broken_answer


def _break_off_upload() -> None:
    from nvflare.app_opt.pt.tensor_downloader import TensorDownloadable  # it brings torch

    def produce_first_item(self, index):
        if index > 0:
            raise ConnectionError
        return produce(self, index)

    produce, TensorDownloadable.produce_item = TensorDownloadable.produce_item, produce_first_item


def _wait_for_state(number: int) -> None:
    """Wait until the server has closed a round, which it has when there is a state ``number``."""
    states = Path(os.environ["FEDSWIN_RUN"], "state")
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not any(states.glob(f"{number:06d}-*.pt")) and time.monotonic() < deadline:
        time.sleep(0.1)


def _break_training(site_trainer: ModuleType) -> None:
    """``gpu out of memory``, ``out of memory``: the trainer raises, with a path in the message."""
    import torch  # not before a trainer is there

    train = site_trainer.SiteTrainer.train

    @functools.wraps(train)
    def broken_train(self, number):
        if _happens("gpu out of memory", number):
            raise torch.OutOfMemoryError("/data/secret/patient7.nii.gz")
        if _happens("out of memory", number):
            raise MemoryError("/data/secret/patient7.nii.gz")
        return train(self, number)

    site_trainer.SiteTrainer.train = broken_train


def _break_states(state: ModuleType) -> None:
    """``disk full``: the state does not fit. ``clock``: the time of day goes back by a day, just before it is written.

    At a site state r is what comes of round r; at the server it is global model r.
    """
    save = state.StateFolder.save

    @functools.wraps(save)
    def broken_save(self, number, content):
        if _happens("disk full", number):
            (self._folder / "pending.pt.partial").symlink_to("/dev/full")  # the kernel says ENOSPC to whoever writes
        if _happens("clock", number):
            now = time.time
            time.time = lambda: now() - _DAY_SECONDS
        save(self, number, content)

    state.StateFolder.save = broken_save


def _tell_arrivals(tally: ModuleType) -> None:
    """No fault: the server tells in which order the answers come."""
    receive = tally.Tally.receive

    @functools.wraps(receive)
    def told_receive(self, answer):
        print(f"arrived: {answer.site} in round {self._model.version}", flush=True)
        receive(self, answer)

    tally.Tally.receive = told_receive


_PATCHES = {
    "fedswin.federation.tally": _tell_arrivals,
    "fedswin.federation.client": _break_answers,
    "fedswin.training.site_trainer": _break_training,
    "fedswin.federation.state": _break_states,
}


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


if _faults:
    sys.meta_path.insert(0, _Patcher)
