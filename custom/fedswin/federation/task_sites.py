"""The sites of a study over NVFlare: a question is a task that is broadcast, an answer is its result."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.defs import ReturnCode as CellReturnCode
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.cellnet.utils import new_cell_message
from nvflare.fuel.f3.message import Message
from torch import Tensor

from fedswin.federation import messages
from fedswin.federation.refusal import UpdateRefusedError
from fedswin.federation.sites import Answer, Question, StudyAbortedError
from fedswin.scalars import is_kind_of_error

_LOST = "its process of this job has ended"
_POLL_SECONDS = 0.1
_START_SECONDS = 600.0
"""How long a site's process may take to start, before it gives its first sign of life."""

log = logging.getLogger(__name__)


class TaskSites:
    """Asks by broadcasting tasks, and listens for signs of life.

    Args:
        controller: the controller of the job.
        fl_ctx: its context.
        abort_signal: tells that the job is aborted.
        silence: seconds without a sign of life after which a site counts as silent.
    """

    def __init__(self, controller: Controller, fl_ctx: FLContext, abort_signal: Signal, silence: float) -> None:
        self._controller = controller
        self._fl_ctx = fl_ctx
        self._abort_signal = abort_signal
        self._silence = silence
        self._engine = fl_ctx.get_engine()
        self._heard = dict.fromkeys(self.connected(), time.monotonic() + _START_SECONDS)
        self._lock = threading.Lock()
        self._receive: Callable[[Answer], None] | None = None
        self._failure: Exception | None = None
        self._lost: set[str] = set()
        self._engine.register_aux_message_handler(messages.ALIVE, self._hear)
        self._engine.get_cell().register_request_cb(messages.CHANNEL, messages.LOST, self._lose)

    def connected(self) -> list[str]:
        """Return the names of the sites that the job runs at, sorted."""
        return sorted(client.name for client in self._engine.get_clients())

    def silent(self) -> Collection[str]:
        """Return the sites that have given no sign of life for a while."""
        now = time.monotonic()
        return {name for name, heard in self._heard.items() if now - heard > self._silence}

    def ask(
        self, questions: Sequence[Question], receive: Callable[[Answer], None], is_over: Callable[[], bool]
    ) -> None:
        """Ask the sites, hand on their answers one at a time, and return when ``is_over`` says so.

        Raises:
            StudyAbortedError: if the job is aborted meanwhile.
            Exception: what ``receive`` raises.
        """
        self._receive = receive
        waiting = {site for question in questions for site in question.sites}
        try:
            for question in questions:
                self._broadcast(question)
            while not is_over():
                for site in sorted(self._lost & waiting):
                    waiting.remove(site)
                    self._hand_on(Answer(site, error=_LOST, leaves=True))
                if self._failure:
                    raise self._failure
                if self._abort_signal.triggered:
                    raise StudyAbortedError
                time.sleep(_POLL_SECONDS)
        finally:
            with self._lock:
                self._receive = None
            self._controller.cancel_all_tasks(fl_ctx=self._fl_ctx)

    def _broadcast(self, question: Question) -> None:
        data = FLModelUtils.to_shareable(_write_question(question))
        task = Task(question.task, data, result_received_cb=self._result_received)
        self._controller.broadcast(task, self._fl_ctx, targets=list(question.sites), min_responses=0)

    def _result_received(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        """Hand on an answer; NVFlare calls this from the thread that it came in on."""
        answer = read_answer(client_task.client, client_task.result)
        client_task.result = None  # NVFlare keeps the task for as long as others have not answered
        self._hand_on(answer)

    def _hand_on(self, answer: Answer) -> None:
        with self._lock:
            if self._receive:
                try:
                    self._receive(answer)
                except Exception as error:  # NVFlare would log it and go on; the study must not
                    self._failure = error

    def _hear(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        self._heard[fl_ctx.get_peer_context().get_identity_name()] = time.monotonic()
        return make_reply(ReturnCode.OK)

    def _lose(self, message: Message) -> Message:
        site = FQCN.get_root(message.get_header(MessageHeaderKey.ORIGIN))
        log.warning("%s: %s", site, _LOST)
        self._lost.add(site)
        return new_cell_message({MessageHeaderKey.RETURN_CODE: CellReturnCode.OK})


def _write_question(question: Question) -> FLModel:
    about: dict[str, Any] = {"refused": question.refused}
    if not question.download:
        return FLModel(metrics={}, meta=about, current_round=question.round)
    tensors, version, whole = question.download
    about |= {"version": version, "whole": whole}
    return FLModel(params=dict(tensors), params_type=ParamsType.FULL, meta=about, current_round=question.round)


def read_answer(client: Client, result: Shareable) -> Answer:
    """Return what a task's result says; a result that cannot be read is an answer with an error."""
    code = result.get_return_code()
    if code != ReturnCode.OK:
        return Answer(client.name, error=code)
    try:
        model = FLModelUtils.from_shareable(result)
    except (TypeError, ValueError, KeyError) as error:
        return Answer(client.name, error=f"the answer cannot be read ({type(error).__name__})")
    meta, previous = model.meta, model.meta.get("previous")
    return Answer(
        client.name,
        read=lambda: {name: _load(name, value) for name, value in (model.params or {}).items()},
        metrics=model.metrics or {},
        report=meta,
        previous=previous if isinstance(previous, int) else -1,
        error=_kind_of_error(meta.get("error")),
        leaves=bool(meta.get("leaves")),
    )


def _kind_of_error(told: Any) -> str:
    """Return the kind of an error as the site tells it: a few words without a path, or that it told something else."""
    if not told:
        return ""
    return told if is_kind_of_error(told) else "an error that the site describes in words of its own"


def _load(name: str, value: Any) -> Tensor:
    """Return a tensor, which NVFlare may have left on disk until it is wanted."""
    tensor = value.materialize() if hasattr(value, "materialize") else value
    if not isinstance(tensor, Tensor):
        raise UpdateRefusedError(f"{name} is no tensor")
    return tensor
