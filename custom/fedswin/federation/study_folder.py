"""Where a study's state lies: outside the workspace of any one job, since a study may take several."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import get_custom_prop

from fedswin.errors import FedSwinError
from fedswin.federation import messages

STUDIES = "studies"
"""The folder of all studies in a kit, unless the environment names another."""


def study_folder(fl_ctx: FLContext) -> Path:
    """Return the folder of the study that the job belongs to, at the server or site that this process is of.

    In the simulator it is the run folder, for the server and all sites.

    Raises:
        FedSwinError: if the job names a study by something other than a job's id.
    """
    if run := os.environ.get(messages.RUN_VARIABLE):
        return Path(run)
    studies = os.environ.get(messages.STUDIES_VARIABLE)
    root = Path(studies) if studies else Path(fl_ctx.get_engine().get_workspace().get_root_dir(), STUDIES)
    return root / study_id(fl_ctx)


def study_id(fl_ctx: FLContext) -> str:
    """Return the id of the study's first job, which is this one unless its meta names another.

    Raises:
        FedSwinError: if that is no id: it becomes the name of a folder, so it must not be a path.
    """
    meta = fl_ctx.get_prop(FLContextKey.JOB_META) or {}
    named = get_custom_prop(meta, messages.STUDY, fl_ctx.get_job_id())
    try:
        return str(uuid.UUID(named))
    except (ValueError, AttributeError, TypeError):
        raise FedSwinError(f"The job names the study {named!r}, which is no job's id.") from None
