"""A whole federation on this machine, in NVFlare's simulator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.operations.preflight import plan_study
from fedswin.operations.progress import StudyProgress
from fedswin.run_folder import read_records, refuse_run, start_run, write_provenance
from fedswin.weights.file import Weights, save_weights

_SERVER_RUN = Path("server", "simulate_job")
_SITE_FILES = Path("simulate_job", "site")
_POLL_SECONDS = 0.5


def simulate(
    job: Job,
    data: Path,
    out: Path,
    *,
    init: Path | None = None,
    gpus: Sequence[int] = (),
    strict: bool = False,
    overwrite: bool = False,
    console: Console,
) -> None:
    """Run ``job`` with every site as a process of its own, and leave a run folder at ``out``.

    Args:
        job: the job.
        data: the folder of the site folders.
        out: the run folder.
        init: a weights file or run folder to start from.
        gpus: numbers of the GPUs that the sites share; none by default.
        strict: take warnings about the data as errors.
        overwrite: replace the run at ``out``.
        console: where to show how far the study is.

    Raises:
        FedSwinError: if something about the input is wrong, and then nothing has been written; or if the
            simulation fails, and then ``out/nvflare`` holds the logs.
    """
    refuse_run(out, overwrite=overwrite)
    plan = plan_study(job, data, init, strict=strict, console=console)
    sites = [site.name for site in plan.sites]
    about = {"sites": sites, "handover": plan.initial.provenance()}
    start_run(out, job)
    write_provenance(out, job, "simulate", **about, finished=False)
    workspace = out / "nvflare"
    save_weights(workspace / messages.INITIAL_WEIGHTS, Weights(plan.initial.tensors, job))
    journals = {name: workspace / job.name / name / _SITE_FILES for name in sites}
    progress = StudyProgress(job, workspace / job.name / _SERVER_RUN, journals, console)
    with _short_path(workspace) as link, progress:
        _run(job, link, _environment(job, data, sites, gpus), _arguments(sites, gpus), progress)
    _collect(workspace / job.name, out, sites)
    write_provenance(out, job, "simulate", **about, finished=True)


@contextmanager
def _short_path(workspace: Path) -> Iterator[Path]:
    """Give the workspace a path without spaces, since NVFlare splits its simulator's command at them."""
    with tempfile.TemporaryDirectory(prefix="fedswin-") as folder:
        link = Path(folder) / "workspace"
        link.symlink_to(workspace.absolute(), target_is_directory=True)
        yield link


def _run(job: Job, workspace: Path, environment: dict[str, str], arguments: list[str], progress: StudyProgress) -> None:
    command = [sys.executable, "-m", "fedswin.operations.simulation_process"]
    command += [str(workspace / messages.INITIAL_WEIGHTS), str(workspace), *arguments]
    with (workspace / "console.log").open("w") as console:
        process = subprocess.Popen(command, env=environment, stdout=console, stderr=console, start_new_session=True)
        try:
            while process.poll() is None:
                progress.update()
                time.sleep(_POLL_SECONDS)
            progress.update()
        finally:
            _end(process)
    rounds = len(read_records(workspace / job.name / _SERVER_RUN)) - 1
    if process.returncode or rounds < job.federation.rounds:
        raise FedSwinError(
            f"The simulation ended after {max(0, rounds)} of {job.federation.rounds} rounds. "
            f"{_last_error(workspace.resolve() / job.name)}"
        )


def _environment(job: Job, data: Path, sites: Sequence[str], gpus: Sequence[int]) -> dict[str, str]:
    """Tell the sites where their data is, and share out the machine."""
    threads = job.trainer.cpu_threads or max(1, (os.cpu_count() or 1) // len(sites))
    environment = {
        "MALLOC_ARENA_MAX": "1",  # the training thread shares the one heap that keep_freed_memory looks after
        **os.environ,
        messages.SITES_DATA_VARIABLE: str(data.absolute()),
        "OMP_NUM_THREADS": str(threads),
    }
    environment.pop(messages.SITE_DATA_VARIABLE, None)
    if not gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def _arguments(sites: Sequence[str], gpus: Sequence[int]) -> list[str]:
    """Name the sites, and a GPU for each: with fewer NVFlare would restart the sites in every round."""
    shared = [",".join(str(gpus[number % len(gpus)]) for number in range(len(sites)))] if gpus else []
    return [",".join(sites), *shared]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the simulator and all that it started; it runs in sessions of its own."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for member in family:
            member.kill()
        psutil.wait_procs(family, timeout=10)


def _last_error(workspace: Path) -> str:
    lines = [
        line
        for log in sorted(workspace.glob("*/error_log.txt"))
        for line in log.read_text(errors="replace").splitlines()
        if "ERROR" in line or "Error:" in line
    ]
    last = f"The last error logged: {lines[-1].strip()} " if lines else ""
    return f"{last}The logs are in {workspace.parent}."


def _collect(workspace: Path, out: Path, sites: Sequence[str]) -> None:
    """Move the shared part to where the run folder has it, and each site's own files to ``sites/``."""
    for name in ("metrics.jsonl", "global", "tensorboard"):
        shutil.move(workspace / _SERVER_RUN / name, out / name)
    for site in sites:
        shutil.move(workspace / site / _SITE_FILES, out / "sites" / site)
