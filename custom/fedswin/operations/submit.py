"""Submitting a job to a running federation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from fedswin.config import Job
from fedswin.errors import FedSwinError, nearest
from fedswin.federation.recipe import FedSwinRecipe
from fedswin.operations.admin import Federation
from fedswin.weights.file import Weights
from fedswin.weights.handover import Handover


def submit(job: Job, initial: Handover, kit: Path) -> str:
    """Submit ``job`` and return the id that the server gave it.

    Args:
        job: the job.
        initial: global model 0.
        kit: the kit of a person who may submit jobs.

    Raises:
        FedSwinError: if the kit is none of a person, the server cannot be reached or refuses, or sites
            that the job needs are not connected.
    """
    with Federation(kit) as federation, tempfile.TemporaryDirectory(prefix="fedswin-") as folder:
        sites = required_sites(job, federation.connected_sites())
        return federation.submit(export_job(job, initial, sites, Path(folder)))


def export_job(job: Job, initial: Handover, sites: Sequence[str], folder: Path) -> Path:
    """Write the NVFlare job that ``job`` becomes below ``folder``, and return where it is.

    Args:
        job: the job.
        initial: global model 0.
        sites: the sites that take part.
        folder: an empty folder.
    """
    parts = folder / "parts"
    parts.mkdir()
    weights = Weights(initial.tensors, job, {"handover": initial.provenance()})
    FedSwinRecipe(weights, sites, parts).export(str(folder))
    return folder / job.name


def required_sites(job: Job, connected: Sequence[str]) -> list[str]:
    """Return the sites that take part; all must be connected, since NVFlare waits for none of them.

    Raises:
        FedSwinError: if one that the job names is not, or they are fewer than ``federation.min_sites``.
    """
    there = f"Connected are: {', '.join(connected) or 'none'}."
    for name in job.federation.sites or []:
        if name not in connected:
            raise FedSwinError(
                f"The site '{name}', which federation.sites names, is not connected{nearest(name, connected)}. {there} "
                "Start it, or take it off the list."
            )
    able = list(job.federation.sites or connected)
    if len(able) < job.federation.min_sites:
        raise FedSwinError(
            f"Too few sites can take part: {len(able)}, and federation.min_sites is {job.federation.min_sites}. "
            f"{there} Start the others, or lower federation.min_sites."
        )
    return able
