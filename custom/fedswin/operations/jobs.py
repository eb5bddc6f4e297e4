"""The jobs of a federation: what there is, and how to stop one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from fedswin.errors import FedSwinError
from fedswin.operations.admin import Federation, has_ended
from fedswin.operations.submit import study_of

_ABORT_SECONDS = 60.0


class JobEntry(NamedTuple):
    """A job that the server knows.

    Attributes:
        id: what `fedswin.operations.submit.submit` returned.
        name: the name in the job file.
        status: NVFlare's word for it, such as ``RUNNING`` or ``FINISHED:COMPLETED``.
        submitted: when, as the server wrote it.
        by: the person who submitted it.
        study: the id of the first job of its study, its own if it started one.
    """

    id: str
    name: str
    status: str
    submitted: str
    by: str
    study: str


def list_jobs(kit: Path) -> list[JobEntry]:
    """Return the jobs of a federation, the newest first.

    Args:
        kit: the kit of a person who may list them.

    Raises:
        FedSwinError: if the server cannot be reached or refuses.
    """
    with Federation(kit) as federation:
        return jobs_of(federation)


def jobs_of(federation: Federation) -> list[JobEntry]:
    """Return the jobs that a session sees, the newest first."""
    return [_entry(about) for about in federation.jobs()]


def abort_job(job_id: str, kit: Path) -> str:
    """Stop a job, and return once it has ended. Its study can be resumed.

    Args:
        job_id: the job's id.
        kit: the kit of a person who may stop it.

    Returns:
        How it ended, in NVFlare's word.

    Raises:
        FedSwinError: if the server cannot be reached or refuses, knows no such job, or the job had ended before, or
            does not end within a minute.
    """
    with Federation(kit) as federation:
        about = federation.job(job_id)
        if has_ended(about):
            raise FedSwinError(f"Job {job_id} has ended already: {about['status']}.")
        federation.abort(job_id)
        return str(federation.wait(job_id, _ABORT_SECONDS)["status"])


def _entry(about: dict[str, Any]) -> JobEntry:
    return JobEntry(
        id=about["job_id"],
        name=about.get("name", ""),
        status=str(about["status"]),
        submitted=str(about.get("submit_time_iso", "")),
        by=str(about.get("submitter_name", "")),
        study=study_of(about),
    )
