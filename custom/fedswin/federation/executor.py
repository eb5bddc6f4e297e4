"""The site's executor: NVFlare's Client API, running the trainer that is installed at the site."""

from __future__ import annotations

import os
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor, ExecutionMode
from nvflare.client.config import ExchangeFormat

from fedswin.federation import messages
from fedswin.federation.heartbeat import Heartbeat
from fedswin.federation.study_folder import study_folder


class SiteExecutor(ClientAPIExecutor):
    """Runs `fedswin.federation.site_app` of the installed package, whatever the job says.

    It takes no arguments, so a job can choose neither the script nor a command. That is what makes it
    safe to allow-list at a site, which NVFlare's own ``ClientAPIExecutor`` is not.
    """

    def __init__(self) -> None:
        super().__init__(
            execution_mode=ExecutionMode.IN_PROCESS,
            task_script_path=str(Path(__file__).with_name("site_app.py")),
            params_exchange_format=ExchangeFormat.PYTORCH,
            server_expected_format=ExchangeFormat.PYTORCH,
            train_task_name=messages.TRAIN,
            evaluate_task_name=messages.VALIDATE,
        )
        self._heartbeat: Heartbeat | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Tell the trainer where its job and its study are, and the server that this site lives, while the job runs."""
        if event_type == EventType.START_RUN:
            workspace = fl_ctx.get_engine().get_workspace()
            config = Path(workspace.get_app_config_dir(fl_ctx.get_job_id()))
            os.environ[messages.KIT_VARIABLE] = workspace.get_root_dir()
            os.environ[messages.JOB_FILE_VARIABLE] = str(config / messages.JOB_FILE)
            os.environ[messages.STUDY_FOLDER_VARIABLE] = str(study_folder(fl_ctx))
            self._heartbeat = Heartbeat(fl_ctx.get_engine())
        elif event_type == EventType.END_RUN and self._heartbeat:
            self._heartbeat.end()
        super().handle_event(event_type, fl_ctx)
