"""All that can be refused is refused here, before a run folder exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fedswin.config import Job
from fedswin.data.datalist import Site, is_site_folder, read_site, site_folders
from fedswin.data.usable_cases import usable_cases
from fedswin.errors import FedSwinError, nearest
from fedswin.operations.handover_table import show_handover
from fedswin.site_names import SITE_NAME_RULE, is_site_name
from fedswin.tasks import training_cases
from fedswin.weights.dialects import read_initial_weights
from fedswin.weights.file import resolve_weights
from fedswin.weights.handover import Handover, initial_state


@dataclass(frozen=True)
class Plan:
    """A study that can start.

    Attributes:
        sites: the sites that train, without the cases that are skipped.
        initial: global model 0.
    """

    sites: list[Site]
    initial: Handover


def plan_study(job: Job, data: Path, init: Path | None, *, strict: bool, console: Console) -> Plan:
    """Read and check the sites' data, build the initial model, and say what is worth knowing.

    Args:
        job: the job.
        data: a site folder, or a folder of site folders.
        init: a weights file of any dialect, or a run folder, to start from.
        strict: take warnings, such as an image that cannot be in HU or an encoder that was at chance, as errors.
        console: where to print.

    Raises:
        FedSwinError: if a site is missing, its data is unusable, too few sites can train, or the weights
            do not fit.
    """
    initial = plan_initial_state(job, init, console, strict=strict)
    sites = []
    for site in [read_site(folder) for folder in _wanted_folders(job, data)]:
        with console.status(f"checking the data of {site.name}"):
            usable, warnings = usable_cases(job, site, strict=strict)
        for warning in warnings:
            console.print(f"Warning: {warning}", markup=False)
        sites.append(usable)
    return Plan(_able_sites(job, sites, data, console), initial)


def plan_initial_state(job: Job, init: Path | None, console: Console, *, strict: bool = False) -> Handover:
    """Build global model 0, from ``init`` if given, and print how much of it matched.

    Args:
        job: the job.
        init: a weights file of any dialect, or a run folder, to start from.
        console: where to print.
        strict: take no encoder whose pre-training is known not to have learned.

    Raises:
        FedSwinError: if the weights cannot be read, do not fit, or are refused.
    """
    if init is None:
        return initial_state(job)
    path = resolve_weights(init)
    source = read_initial_weights(path)
    initial = initial_state(job, source, str(path))
    console.print(f"Hand-over from {path} ({source.dialect}): {initial.summary()}", markup=False)
    show_handover(initial, console)
    if strict and initial.warning:
        raise FedSwinError(f"{path}: {initial.warning}. Start from another encoder, or leave out --strict.")
    return initial


def _able_sites(job: Job, sites: Sequence[Site], data: Path, console: Console) -> list[Site]:
    able = [site for site in sites if training_cases(job, site)]
    needed = "labelled training case" if job.task == "finetune" else "training case"
    for site in sites:
        if site not in able:
            console.print(f"{site.name} takes no part: it has no {needed} that can be used", markup=False)
    if len(able) < job.federation.min_sites:
        raise FedSwinError(
            f"{data}: {len(able)} of {len(sites)} sites can take part, and federation.min_sites is "
            f"{job.federation.min_sites}. Mend or label cases at more sites, or lower min_sites."
        )
    return able


def _wanted_folders(job: Job, data: Path) -> list[Path]:
    folders = site_folders(data)
    odd = [name for name in folders if not is_site_name(name)]
    if odd:
        raise FedSwinError(f"{data}: '{odd[0]}' cannot be a site's name. Rename the folder: {SITE_NAME_RULE}.")
    wanted = list(folders) if is_site_folder(data) else job.federation.sites or list(folders)
    for name in wanted:
        if name not in folders:
            raise FedSwinError(
                f"The job names the site '{name}', but {data} has no such folder{nearest(name, folders)}. "
                "Correct federation.sites or the folder's name."
            )
    return [folders[name] for name in wanted]
