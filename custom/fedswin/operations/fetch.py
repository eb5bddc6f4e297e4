"""Fetching the result of a job that a federation ran, as a run folder."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fedswin.checksum import SUMS, differing
from fedswin.errors import FedSwinError
from fedswin.federation.curves import SHARED_PART
from fedswin.operations.admin import COMPLETED, Federation, has_ended
from fedswin.outcome import is_finished, read_outcome
from fedswin.output import staged
from fedswin.provenance import update_provenance
from fedswin.records import read_records
from fedswin.run_folder import refuse_run

SERVER_LOG = Path("nvflare", "server_log.txt")
"""Where a fetched run has the server's log of the job."""

_ERROR = re.compile(r"(?: - ERROR - (?:\[identity=[^\]]*\] - )?|^(?=\w+Error: ))(.+)", re.MULTILINE)
"""An error in NVFlare's log, without its context, or the last line of a traceback."""
_ERROR_LINES = 3


def fetch(
    job_id: str, kit: Path, out: Path, *, wait: bool = False, timeout: float | None = None, overwrite: bool = False
) -> None:
    """Download the result of a job and leave the shared part of a run folder at ``out``.

    Args:
        job_id: what `submit` returned.
        kit: the kit of a person who may download it.
        out: the run folder; it appears whole or not at all.
        wait: wait until the job has ended, instead of refusing one that has not.
        timeout: seconds to wait; ``None`` waits for as long as it takes.
        overwrite: replace an earlier run at ``out``.

    Raises:
        FedSwinError: if the server does not know the job, or it has not ended, or has no result, or ``out``
            exists; also if the study is not finished, and then ``out`` holds what there is of it.
    """
    refuse_run(out, overwrite=overwrite)
    with staged(out) as run, Federation(kit) as federation, tempfile.TemporaryDirectory(dir=run.parent) as folder:
        about = federation.wait(job_id, timeout) if wait else federation.job(job_id)
        if not has_ended(about):
            raise FedSwinError(f"Job {job_id} is {about['status'].lower()}. Fetch it when it has ended, or add --wait.")
        arrange_run(job_id, _download(federation, job_id, about, Path(folder)), run)
    outcome = read_outcome(out)
    if not (outcome and outcome.is_final):
        why = outcome.message if outcome else f"It was cut off ({about['status']})."
        raise FedSwinError(f"{out} holds an unfinished study. {why} Go on with 'fedswin submit JOB --resume {job_id}'.")


def arrange_run(job_id: str, workspace: Path, run: Path) -> None:
    """Move the shared part of a run folder out of the server's folder of a job into ``run``.

    Args:
        job_id: the job's id.
        workspace: the server's folder of the job, as downloaded.
        run: the run folder, which exists.

    Raises:
        FedSwinError: if a file is not as the server listed it.
    """
    shared = workspace / SHARED_PART
    if damaged := differing(shared):
        raise FedSwinError(f"The download of job {job_id} is damaged: {', '.join(damaged)}. Fetch it again.")
    (shared / SUMS).unlink()  # provenance.json is about to change
    shutil.copytree(shared, run, dirs_exist_ok=True)
    (run / SERVER_LOG).parent.mkdir(parents=True)
    shutil.move(workspace / "log.txt", run / SERVER_LOG)
    update_provenance(run, job_id=job_id, finished=is_finished(run))


def _download(federation: Federation, job_id: str, about: dict[str, Any], folder: Path) -> Path:
    """Download the server's folder of a job that has scored a model at least; one that failed earlier is explained."""
    failed = f"Job {job_id} failed: {about['status']}.{_refusals(about)}{_last_errors(federation.log(job_id))}"
    if about["status"] == COMPLETED:
        return federation.download(job_id, folder) / "workspace"
    try:
        workspace = federation.download(job_id, folder) / "workspace"
    except FedSwinError:  # it has not come as far as to have a folder
        raise FedSwinError(failed) from None
    if not read_records(workspace / SHARED_PART):
        raise FedSwinError(failed)
    return workspace


def _refusals(about: dict[str, Any]) -> str:
    """Return who did not take the job's files, and why, as one sentence, which is empty if all did."""
    refusals = [answer for answer in about.get("job_deploy_detail") or [] if not answer.endswith(": OK")]
    return f" Not everybody took the job: {' | '.join(refusals)}." if refusals else ""


def _last_errors(log: str) -> str:
    """Return the last errors of a log as one sentence, which is empty if there are none."""
    errors = _ERROR.findall(log)[-_ERROR_LINES:]
    return f" The server's last errors: {' | '.join(errors)}" if errors else ""
