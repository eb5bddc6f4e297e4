"""A federation whose sites' processes are watched, and a whole study in it, for all proofs about a study."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from end_to_end import tiny
from end_to_end.federation import RunningFederation, run_federation
from end_to_end.proofs.captured import watch
from end_to_end.proofs.marked_sites import write_marked_sites
from end_to_end.simulation import RunningSimulation
from fedswin.config import Job
from fedswin.operations.fetch import fetch
from fedswin.operations.preflight import plan_initial_state
from fedswin.operations.submit import submit
from fedswin.records import Record

SITES = {"hospital_a": 2, "hospital_b": 1}
"""The sites and their training cases."""
JOBS: dict[str, Job] = {"pretrain": tiny.job(tiny.PRETRAIN), "finetune": tiny.job(tiny.FINETUNE)}
"""The jobs of the study."""
JOB_SECONDS = 240.0
_OF_TIME_AND_TRANSPORT = ("seconds", "waiting", "memory", "bytes_up", "bytes_down")


class WatchedFederation(NamedTuple):
    """A federation that runs.

    Attributes:
        running: the federation.
        data: the folder of the site folders.
        captured: the folder that has what each site's processes sent, in a folder of the site's name.
    """

    running: RunningFederation
    data: Path
    captured: Path

    def run(self, job: Job, out: Path, init: Path | None = None) -> str:
        """Submit a job as the command line does, fetch its result when it has ended, and return its id."""
        initial = plan_initial_state(job, init, Console(file=io.StringIO()))
        job_id = submit(job, initial, self.running.lead).job_id
        fetch(job_id, self.running.lead, out, wait=True, timeout=JOB_SECONDS)
        return job_id

    def write_policy(self, site: str, *more: str) -> None:
        """Write the policy of a site: its data, and ``more`` lines."""
        lines = [f"data: {self.data / site}", *more]
        (self.running.kits / site / "local" / "site.yaml").write_text("\n".join(lines) + "\n")


class Study(NamedTuple):
    """A study of two jobs that a federation ran, and the simulator too.

    Attributes:
        runs: the fetched run of each task.
        job_ids: the id of the job of each task.
        simulated: the simulator's run of each task, on the same data.
    """

    runs: dict[str, Path]
    job_ids: dict[str, str]
    simulated: dict[str, Path]


def timeless(records: list[Record]) -> list[Record]:
    """Return what there is in records that is neither of time nor of transport."""
    return [
        {
            **record,
            "sites": {
                name: {key: value for key, value in entry.items() if key not in _OF_TIME_AND_TRANSPORT}
                for name, entry in record["sites"].items()
            },
        }
        for record in records
    ]


@pytest.fixture(scope="package")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFederation]:
    folder = tmp_path_factory.mktemp("federation")
    data = write_marked_sites(folder / "data", SITES)
    with run_federation(folder, {}, list(SITES)) as running:
        watched = WatchedFederation(running, data, folder / "captured")
        for site in SITES:
            watched.write_policy(site)
            running.start(site, FEDSWIN_SITE_DATA=str(data / site), **watch(folder / "captured" / site))
        running.wait_until_connected(list(SITES))
        yield watched


@pytest.fixture(scope="package")
def study(federation: WatchedFederation, tmp_path_factory: pytest.TempPathFactory) -> Study:
    fetched, simulated = tmp_path_factory.mktemp("fetched"), tmp_path_factory.mktemp("simulated")
    study = Study({}, {}, {})
    for task, job in JOBS.items():
        init = (fetched / "pretrain", simulated / "pretrain") if study.runs else (None, None)
        study.runs[task], study.simulated[task] = fetched / task, simulated / task
        options = ("--init", str(init[1])) if init[1] else ()
        with RunningSimulation(job, federation.data, simulated / task, *options) as simulation:
            study.job_ids[task] = federation.run(job, fetched / task, init[0])
            assert simulation.finish() == 0, simulation.printed()
    return study
