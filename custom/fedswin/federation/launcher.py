"""How a site starts the process of a job, and what its death means to the others."""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle


class SiteLauncher(ClientProcessJobLauncher):
    """Starts jobs as NVFlare does. A process that dies takes its site out of the job, and does not end it for all.

    NVFlare would report the death as a failure of the job, and the server would abort it everywhere.
    """

    def launch_job(self, job_meta: dict[str, Any], fl_ctx: FLContext) -> ProcessHandle:
        """Start the process of a job and return its handle."""
        return _SiteHandle(process_adapter=super().launch_job(job_meta, fl_ctx).adapter)


class _SiteHandle(ProcessHandle):
    def poll(self) -> int:
        """Return how the process ended; ``UNKNOWN``, which is not reported, if it has not or it died."""
        code = super().poll()
        return JobReturnCode.UNKNOWN if code == JobReturnCode.EXECUTION_ERROR else code
