"""The NVFlare job that a FedSwin job becomes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nvflare.apis.job_def import SERVER_SITE_NAME, JobMetaKey
from nvflare.app_common.widgets.convert_to_fed_event import ConvertToFedEvent
from nvflare.job_config.api import FedJob
from nvflare.recipe import set_recipe_meta
from nvflare.recipe.spec import Recipe

import fedswin
from fedswin.config import Job
from fedswin.federation import messages
from fedswin.federation.controller import FederatedAveraging
from fedswin.federation.curves import StudyCurves
from fedswin.federation.executor import SiteExecutor
from fedswin.weights.file import Weights, save_weights

SERVER_CLASSES = (FederatedAveraging, StudyCurves)
"""The component classes that the server must allow."""
SITE_CLASSES = (SiteExecutor, ConvertToFedEvent)
"""The component classes that a site must allow."""

Code = Literal["installed", "shipped"]
"""Where the code of a job comes from: the sites have it, or the job brings it."""

_SCALARS = "analytix_log_stats"


class FedSwinRecipe(Recipe):
    """A FedSwin job for NVFlare. It carries settings and initial weights, and code only if it is told to.

    Args:
        job: the job.
        initial: global model 0; ``None`` for a study that goes on from the server's state.
        sites: the names of the sites that take part. Each gets an app of its own, so that the initial weights, which
            the server needs alone, go to the server alone.
        folder: a folder for the files that go into the job; it must stay until the job has been
            exported or run.
        study: the id of the first job of the study that this one goes on with; ``None`` starts a study.
        code: ``shipped`` puts this fedswin into the job, to run at the server and the sites in place of what is
            installed there.
    """

    def __init__(
        self,
        job: Job,
        initial: Weights | None,
        sites: Sequence[str],
        folder: Path,
        *,
        study: str | None = None,
        code: Code = "installed",
    ) -> None:
        job_file = folder / messages.JOB_FILE
        job_file.write_text(job.to_yaml())
        # One site is enough for NVFlare: the study itself knows its quorum, and what to do without one.
        fed_job = FedJob(name=job.name, min_clients=1)
        fed_job.set_app_packages(["fedswin"])  # installed at every site, so nothing of it is copied into the job
        fed_job.to_server(FederatedAveraging(), id="study")
        fed_job.to_server(StudyCurves([f"fed.{_SCALARS}"]), id="curves")
        fed_job.add_file_to_server(str(job_file), app_folder_type="config")
        if initial:
            save_weights(folder / messages.INITIAL_WEIGHTS, initial)
            fed_job.add_file_to_server(str(folder / messages.INITIAL_WEIGHTS), app_folder_type="config")
        for site in sites:
            fed_job.to(SiteExecutor(), site, tasks=["*"])
            fed_job.to(ConvertToFedEvent(events_to_convert=[_SCALARS]), site, id="scalars")
            fed_job.add_file_to(str(job_file), site, app_folder_type="config")
        if code == "shipped":
            package = _copy_package(folder / "code")
            for place in (SERVER_SITE_NAME, *sites):
                fed_job.add_file_to(str(package), place, app_folder_type="custom")
        super().__init__(fed_job)
        if gpus := job.federation.gpus:
            wanted = {site: {"num_of_gpus": gpus, "mem_per_gpu_in_GiB": 0} for site in sites}
            set_recipe_meta(self, JobMetaKey.RESOURCE_SPEC, wanted)
        if study:
            set_recipe_meta(self, JobMetaKey.CUSTOM_PROPS, {messages.STUDY: study})


def _copy_package(folder: Path) -> Path:
    """Copy this package below ``folder``, and return the folder that holds it."""
    package = Path(fedswin.__file__).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def class_paths(classes: tuple[type, ...]) -> list[str]:
    """Return the full names of ``classes``, as NVFlare's allow-lists spell them."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in classes]
