"""The site's executor: NVFlare's Client API, running the trainer that is installed at the site."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.executors.client_api.external_process_backend import ExternalProcessBackend
from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor, ExecutionMode
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.client.config import ExchangeFormat

from fedswin.federation import messages
from fedswin.federation.heartbeat import Heartbeat
from fedswin.federation.site_policy import load_site_policy
from fedswin.federation.study_folder import study_folder

_ENDED = "its trainer has ended"
_SILENCE_SECONDS = 3600.0
"""A trainer or a job's process that says nothing for so long is taken for dead. One that has ended is noticed at once;
one that is frozen, or on a machine that sleeps, goes on when it wakes."""
_STOP_SECONDS = 5.0
"""How long the trainer's processes may take to end before they are killed; they have nothing to save."""


class SiteExecutor(Executor):
    """Runs the trainer of the installed package, whatever the job says.

    In the simulator it is a thread of the site's process, at a real site a process of its own, or several.

    It takes no arguments, so a job can choose neither a script nor a command. That is what makes it safe to allow-list
    at a site, which NVFlare's own ``ClientAPIExecutor`` is not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._client_api: _ClientAPI
        self._heartbeat: Heartbeat | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start the trainer with the job and end it with the job; tell the server meanwhile that this site lives."""
        if event_type == EventType.START_RUN:
            workspace = fl_ctx.get_engine().get_workspace()
            config = Path(workspace.get_app_config_dir(fl_ctx.get_job_id()))
            os.environ[messages.KIT_VARIABLE] = workspace.get_root_dir()
            os.environ[messages.JOB_FILE_VARIABLE] = str(config / messages.JOB_FILE)
            os.environ[messages.STUDY_FOLDER_VARIABLE] = str(study_folder(fl_ctx))
            os.environ[messages.JOB_PROCESS_VARIABLE] = str(os.getpid())
            self._heartbeat = Heartbeat(fl_ctx.get_engine())
            self._client_api = _ClientAPI(**_mode(fl_ctx))
        elif event_type == EventType.END_RUN and self._heartbeat:
            self._heartbeat.end()
        super().handle_event(event_type, fl_ctx)
        if self._heartbeat:  # the job has started
            self._client_api.handle_event(event_type, fl_ctx)

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Have the trainer do a task. Once it has ended, the site asks to be left out of the job."""
        result = self._client_api.execute(task_name, shareable, fl_ctx, abort_signal)
        if result.get_return_code() != ReturnCode.EXECUTION_EXCEPTION:
            return result  # a trainer that lives says itself what has failed
        return FLModelUtils.to_shareable(FLModel(metrics={}, meta={"error": _ENDED, "leaves": True}))


class _ClientAPI(ClientAPIExecutor):
    def __init__(self, **mode: Any) -> None:
        super().__init__(
            params_exchange_format=ExchangeFormat.PYTORCH,
            server_expected_format=ExchangeFormat.PYTORCH,
            train_task_name=messages.TRAIN,
            evaluate_task_name=messages.VALIDATE,
            **mode,
        )

    def _create_external_process_backend(self) -> ExternalProcessBackend:
        return _TrainerProcess()


class _TrainerProcess(ExternalProcessBackend):
    def _claim_result_source_failure(self) -> bool:
        """Say that a trainer that dies while it sends its update is no reason to end the job, here or elsewhere.

        NVFlare would report it as a failure of the job. The server is told that the transfer has broken off.
        """
        return False


def _mode(fl_ctx: FLContext) -> dict[str, Any]:
    """Say how the trainer runs: only the site's own policy has a part in it.

    NVFlare marks the simulator in its own context. What the environment or the folders look like says less: a real site
    may have no policy, and a variable may be inherited from anywhere.
    """
    if fl_ctx.get_prop(FLContextKey.SIMULATE_MODE, False):
        script = Path(__file__).with_name("site_app.py")
        return {"execution_mode": ExecutionMode.IN_PROCESS, "task_script_path": str(script)}
    kit = Path(fl_ctx.get_engine().get_workspace().get_root_dir())
    return {
        "execution_mode": ExecutionMode.EXTERNAL_PROCESS,
        "command": trainer_command(load_site_policy(kit).processes or _gpus_given()),
        "heartbeat_timeout": _SILENCE_SECONDS,
        "stop_grace_period": _STOP_SECONDS,
    }


def trainer_command(processes: int) -> list[str]:
    """Return the command of a trainer that trains in so many processes.

    Python looks for modules beside the script that it is given, and with ``-m`` in the working directory. That is the
    app's folder here, which comes from the job; so it is given a folder of ours that holds the script alone.
    """
    return [sys.executable, "-u", str(Path(__file__).with_name("trainer")), str(processes)]


def _gpus_given() -> int:
    """Count the GPUs that NVFlare has given the job, but at least 1."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return max(1, sum(bool(gpu.strip()) for gpu in given))
