"""Submitting a job to a running federation."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nvflare.apis.job_def import get_custom_prop

from fedswin.config import Job
from fedswin.errors import FedSwinError, nearest
from fedswin.federation import messages
from fedswin.federation.recipe import Code, FedSwinRecipe
from fedswin.kits.consortium import read_promises
from fedswin.operations.admin import Federation, has_ended
from fedswin.operations.decisions import Decision, await_decisions
from fedswin.output import refuse_output, staged
from fedswin.weights.file import Weights
from fedswin.weights.handover import Handover

_META = "meta.json"
"""The file that makes a folder an NVFlare job."""


class Submission(NamedTuple):
    """A job that the server has taken.

    Attributes:
        job_id: the id that the server gave it.
        decisions: what the server and the sites decided; none as long as the job waits for others to end.
    """

    job_id: str
    decisions: list[Decision]


def submit(job: Job, initial: Handover, kit: Path, *, code: Code = "installed") -> Submission:
    """Submit ``job``, and wait until the sites have decided about it.

    Args:
        job: the job.
        initial: global model 0.
        kit: the kit of a person who may submit jobs.
        code: ``shipped`` sends this fedswin with the job.

    Raises:
        FedSwinError: if the kit is none of a person, the server cannot be reached or refuses, or fewer than
            ``federation.min_sites`` are connected, have the GPUs, and take the job.
    """
    with Federation(kit) as federation, tempfile.TemporaryDirectory(prefix="fedswin-") as folder:
        sites = required_sites(job, federation.connected_sites(), read_promises(kit))
        return _submit(federation, job, sites, export_job(job, sites, Path(folder), initial=initial, code=code))


def submit_next_segment(job: Job, earlier: str, kit: Path, *, code: Code = "installed") -> Submission:
    """Submit a job that goes on with the study of an earlier one, at the sites that are connected now.

    If the earlier job still runs, it is ended after the round that is under way. No other job of the study need be
    named: whichever of them is, the study goes on from its last finished round.

    Args:
        job: the job, which must be the study's.
        earlier: the id of any job of the study.
        kit: the kit of a person who may submit jobs.
        code: as for `submit`.

    Raises:
        FedSwinError: as `submit`; or if the server does not know the earlier job.
    """
    with Federation(kit) as federation, tempfile.TemporaryDirectory(prefix="fedswin-") as folder:
        about = federation.job(earlier)
        sites = required_sites(job, federation.connected_sites(), read_promises(kit))
        if not has_ended(about) and federation.end_segment(earlier):
            federation.wait(earlier)
        return _submit(federation, job, sites, export_job(job, sites, Path(folder), study=study_of(about), code=code))


def _submit(federation: Federation, job: Job, sites: Sequence[str], folder: Path) -> Submission:
    job_id = federation.submit(folder)
    return Submission(job_id, await_decisions(federation, job_id, sites, job.federation.min_sites))


def study_of(about: Mapping[str, Any]) -> str:
    """Return the id of the study that a job belongs to: the id of the study's first job.

    Args:
        about: what `Federation.job` returns.
    """
    return str(get_custom_prop(dict(about), messages.STUDY, about["job_id"]))


def export_job(
    job: Job,
    sites: Sequence[str],
    folder: Path,
    *,
    initial: Handover | None = None,
    study: str | None = None,
    code: Code = "installed",
) -> Path:
    """Write the NVFlare job that ``job`` becomes below ``folder``, and return where it is.

    Args:
        job: the job.
        sites: the sites that take part.
        folder: an empty folder.
        initial: global model 0, for a job that starts a study.
        study: the study, for a job that goes on with one.
        code: ``shipped`` puts this fedswin into it.
    """
    parts = folder / "parts"
    parts.mkdir()
    weights = Weights(initial.tensors, job, initial.provenance()) if initial else None
    FedSwinRecipe(job, weights, sites, parts, study=study, code=code).export(str(folder))
    return folder / job.name


def export_for_review(
    job: Job,
    sites: Sequence[str],
    initial: Handover,
    out: Path,
    *,
    code: Code = "installed",
    overwrite: bool = False,
) -> list[Path]:
    """Write the NVFlare job that ``job`` becomes, for ``nvflare job submit`` or for a reviewer at a hospital.

    Args:
        job: the job.
        sites: the sites that take part.
        initial: global model 0.
        out: the folder to write; it appears whole or not at all.
        code: ``shipped`` puts this fedswin into it.
        overwrite: replace an earlier export at ``out``.

    Returns:
        The files, below ``out``.

    Raises:
        FedSwinError: if no site is named, or ``out`` is refused.
    """
    if not sites:
        raise FedSwinError("No site is named. Give --sites, or federation.sites in the job file.")
    refuse_output(out, overwrite=overwrite, kind="an NVFlare job", is_kind=lambda path: (path / _META).is_file())
    with staged(out) as folder, tempfile.TemporaryDirectory(prefix="fedswin-") as work:
        made = export_job(job, sites, Path(work), initial=initial, code=code)
        shutil.copytree(made, folder, dirs_exist_ok=True)
    return sorted(path for path in out.rglob("*") if path.is_file())


def required_sites(job: Job, connected: Sequence[str], promises: Mapping[str, int]) -> list[str]:
    """Return the sites that take part; all must be connected, since NVFlare waits for none of them.

    Args:
        job: the job.
        connected: the sites that are connected.
        promises: how many GPUs each site of the consortium offers, as far as that is known.

    Raises:
        FedSwinError: if one that the job names is not connected, if the job wants more GPUs than a site has promised,
            or if the sites are fewer than ``federation.min_sites``.
    """
    there = f"Connected are: {', '.join(connected) or 'none'}."
    for name in job.federation.sites or []:
        if name not in connected:
            raise FedSwinError(
                f"The site '{name}', which federation.sites names, is not connected{nearest(name, connected)}. {there} "
                "Start it, or take it off the list."
            )
    able = list(job.federation.sites or connected)
    for name in able:
        if job.federation.gpus > (promised := promises.get(name, job.federation.gpus)):
            raise FedSwinError(
                f"The job asks each site for {job.federation.gpus} GPUs, and {name} promised {promised}. Lower "
                "federation.gpus, or name the sites that have them: federation.sites."
            )
    if len(able) < job.federation.min_sites:
        raise FedSwinError(
            f"Too few sites can take part: {len(able)}, and federation.min_sites is {job.federation.min_sites}. "
            f"{there} Start the others, or lower federation.min_sites."
        )
    return able
