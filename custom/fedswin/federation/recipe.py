"""The NVFlare job that a FedSwin job becomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nvflare.app_common.widgets.convert_to_fed_event import ConvertToFedEvent
from nvflare.app_opt.tracking.tb.tb_receiver import TBAnalyticsReceiver
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe

from fedswin.federation import messages
from fedswin.federation.aggregator import ExactMeanAggregator
from fedswin.federation.controller import FederatedAveraging
from fedswin.federation.executor import SiteExecutor
from fedswin.weights.file import Weights, save_weights

SERVER_CLASSES = (FederatedAveraging, ExactMeanAggregator, TBAnalyticsReceiver)
"""The component classes that the server must allow."""
SITE_CLASSES = (SiteExecutor, ConvertToFedEvent)
"""The component classes that a site must allow."""

_SCALARS = "analytix_log_stats"


class FedSwinRecipe(Recipe):
    """A FedSwin job for NVFlare. It carries settings and initial weights, and no code.

    Args:
        initial: global model 0, with the job that is to train it.
        sites: the names of the sites that take part. Each gets an app of its own, so that the initial weights, which
            the server needs alone, go to the server alone.
        folder: a folder for the files that go into the job; it must stay until the job has been
            exported or run.
    """

    def __init__(self, initial: Weights, sites: Sequence[str], folder: Path) -> None:
        job = initial.job
        job_file, weights_file = folder / messages.JOB_FILE, folder / messages.INITIAL_WEIGHTS
        job_file.write_text(job.to_yaml())
        save_weights(weights_file, initial)

        fed_job = FedJob(name=job.name, min_clients=job.federation.min_sites)
        fed_job.set_app_packages(["fedswin"])  # installed at every site, so nothing of it is copied into the job
        fed_job.to_server(FederatedAveraging(), id="study")
        fed_job.to_server(ExactMeanAggregator(), id="aggregator")
        fed_job.to_server(TBAnalyticsReceiver("tensorboard", events=[f"fed.{_SCALARS}"]), id="curves")
        fed_job.add_file_to_server(str(job_file), app_folder_type="config")
        fed_job.add_file_to_server(str(weights_file), app_folder_type="config")
        for site in sites:
            fed_job.to(SiteExecutor(), site, tasks=["*"])
            fed_job.to(ConvertToFedEvent(events_to_convert=[_SCALARS]), site, id="scalars")
            fed_job.add_file_to(str(job_file), site, app_folder_type="config")
        super().__init__(fed_job)


def class_paths(classes: tuple[type, ...]) -> list[str]:
    """Return the full names of ``classes``, as NVFlare's allow-lists spell them."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in classes]
