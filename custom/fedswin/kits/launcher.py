"""How the process of a job is started, and what its death at a site means to the others."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, JobConstants
from nvflare.apis.fl_context import FLContext
from nvflare.apis.fl_exception import UnsafeComponentError
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle, ProcessJobLauncher
from nvflare.app_common.job_launcher.server_process_launcher import ServerProcessJobLauncher
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.cellnet.utils import new_cell_message
from nvflare.utils.job_launcher_utils import get_credential_env
from nvflare.utils.process_utils import spawn_process

from fedswin.federation import messages
from fedswin.kits.manifest import check_manifest

_TRIES = 12
_TRY_SECONDS = 5.0
"""The server's process of a job may still be starting when a site's has died already."""


class _JobLauncher(ProcessJobLauncher):
    """Starts the process of a job as NVFlare does, but code that the job brings goes before what is installed.

    NVFlare puts it last, where the installed package of the same name hides it.
    """

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> ProcessHandle:
        """Start the process of a job and return its handle."""
        environment = os.environ | get_credential_env(fl_ctx.get_prop(FLContextKey.JOB_PROCESS_ARGS) or {})
        workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        if code := workspace.get_app_custom_dir(job_meta[JobConstants.JOB_ID]):
            environment["PYTHONPATH"] = os.pathsep.join([code, *sys.path])
        command = shlex.split(self.get_command(job_meta, fl_ctx))
        return ProcessHandle(process_adapter=spawn_process(command, environment))

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """When the process of the kit starts, refuse a kit that was altered."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            _refuse_altered(Path(fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_startup_kit_dir()))


class ServerLauncher(_JobLauncher, ServerProcessJobLauncher):
    """Starts the server's processes of jobs."""


class SiteLauncher(_JobLauncher, ClientProcessJobLauncher):
    """Starts a site's processes of jobs. One that dies takes its site out of the job, and does not end it for all.

    NVFlare would report the death as a failure of the job, and the server would abort it everywhere. Here the server's
    process of the job is told, so that it waits for this site no longer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._handles: dict[str, _SiteHandle] = {}

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> ProcessHandle:
        """Start the process of a job and return its handle."""
        handle = _SiteHandle(process_adapter=super().launch_job(job_meta, fl_ctx).adapter)
        self._handles[job_meta[JobConstants.JOB_ID]] = handle
        return handle

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """When the process of a job has died, tell the server's process of that job."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.JOB_COMPLETED:
            job_id = fl_ctx.get_prop(FLContextKey.CURRENT_JOB_ID)
            handle = self._handles.pop(job_id, None)
            if handle and handle.has_died:
                cell = fl_ctx.get_engine().get_cell()
                threading.Thread(target=_tell_server, args=(cell, job_id), name="lost", daemon=True).start()


class _SiteHandle(ProcessHandle):
    has_died = False

    def poll(self) -> int:
        """Return how the process ended; ``UNKNOWN``, which is not reported, if it has not or it died."""
        code = super().poll()
        self.has_died = code == JobReturnCode.EXECUTION_ERROR
        return JobReturnCode.UNKNOWN if self.has_died else code


def _refuse_altered(startup: Path) -> None:
    """Compare the kit with its manifest, however it was started: NVFlare itself compares nothing.

    Raises:
        UnsafeComponentError: if it was altered; it is the one error by which NVFlare then ends.
    """
    kit = startup.resolve().parent
    if faults := check_manifest(kit):
        raise UnsafeComponentError(f"{kit} was altered:" + "".join(f"\n- {fault}" for fault in faults))


def _tell_server(cell: Cell, job_id: str) -> None:
    """Tell the server's process of a job that the one here has died, until it has heard it, or is gone too."""
    server = FQCN.join([FQCN.ROOT_SERVER, job_id])
    for _ in range(_TRIES):
        reply = cell.send_request(
            messages.CHANNEL, messages.LOST, server, new_cell_message({}), timeout=_TRY_SECONDS, optional=True
        )
        if reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.OK:
            return
        time.sleep(_TRY_SECONDS)
