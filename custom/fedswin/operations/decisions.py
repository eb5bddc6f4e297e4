"""What the server and each site decided about a job that was submitted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nvflare.apis.job_def import SERVER_SITE_NAME

from fedswin.errors import FedSwinError
from fedswin.operations.admin import Federation, has_ended

_OK = "OK"
_ERROR = "NVFLARE_ERROR: "
_WAITING = ("SUBMITTED", "APPROVED", "DISPATCHED")
_SECONDS = 90.0
"""Enough for sites to take the files, and for a server that gives up for want of GPUs."""
_POLL_SECONDS = 0.5


class Decision(NamedTuple):
    """What the server or a site decided about a job.

    Attributes:
        name: the site, or ``server``.
        why: why it refuses; empty if it takes the job.
    """

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} refuses the job: {self.why}" if self.why else f"{self.name} takes the job"


def decisions(about: Mapping[str, Any], names: Sequence[str]) -> list[Decision]:
    """Return what is known of the decisions of ``names``.

    Args:
        about: what `Federation.job` returns.
        names: the sites that were asked, and ``server``.
    """
    answers = dict(detail.split(": ", 1) for detail in about.get("job_deploy_detail") or () if ": " in detail)
    return [
        Decision(name, "" if answers[name] == _OK else answers[name].removeprefix(_ERROR))
        for name in names
        if name in answers
    ]


def await_decisions(federation: Federation, job_id: str, sites: Sequence[str], needed: int) -> list[Decision]:
    """Wait until the sites have decided about a job; one that too few of them take is stopped.

    Args:
        federation: the session.
        job_id: the job, just submitted.
        sites: the sites that it is for.
        needed: how many must take it.

    Returns:
        The decisions; none for a job that waits for others to end.

    Raises:
        FedSwinError: if too few take the job, or the server gives it up.
    """
    about = _await_start(federation, job_id)
    known = decisions(about, [SERVER_SITE_NAME, *sites])
    refusals = [str(decision) for decision in known if decision.why]
    if len([decision for decision in known if decision.name in sites and not decision.why]) >= needed:
        return known
    if about["status"] in _WAITING:
        return []
    if not has_ended(about):
        federation.abort(job_id)
    reasons = refusals or [str(line) for line in (about.get("schedule_history") or [])[-1:]] or [about["status"]]
    raise FedSwinError(f"Too few sites take job {job_id}: {needed} are needed. {'; '.join(reasons)}.")


def _await_start(federation: Federation, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _SECONDS
    while (about := federation.job(job_id))["status"] in _WAITING and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    if has_ended(about) and not about.get("job_deploy_detail"):  # the server writes the reasons after the state
        time.sleep(_POLL_SECONDS)
        about = federation.job(job_id)
    return about
