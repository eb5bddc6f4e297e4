"""A whole federation on this machine, in NVFlare's simulator."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console

from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.operations.collect_pictures import collect_pictures
from fedswin.operations.made_sites import scenario_of
from fedswin.operations.preflight import plan_study
from fedswin.operations.process_family import MARK_VARIABLE, SiteProcesses, end_family, new_mark
from fedswin.operations.progress import StudyProgress
from fedswin.outcome import is_finished, read_outcome
from fedswin.provenance import update_provenance, write_provenance
from fedswin.records import read_records
from fedswin.run_folder import refuse_run, require_run_of, start_run
from fedswin.run_lock import lock_run
from fedswin.weights.file import Weights, save_weights

_WORKSPACE = "nvflare"
_POLL_SECONDS = 0.5


def parse_gpus(text: str) -> list[int]:
    """Return the numbers of the GPUs that ``text`` names, such as ``0,1``.

    Raises:
        FedSwinError: if it holds something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise FedSwinError(f"--gpus {text}: expected the numbers of GPUs, from 0, such as 0 or 0,1.")
    return [int(part) for part in parts]


def simulate(
    job: Job,
    data: Path,
    out: Path,
    *,
    init: Path | None = None,
    gpus: Sequence[int] = (),
    resume: bool = False,
    pictures: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    console: Console,
) -> None:
    """Run ``job`` with every site as a process of its own, and leave a run folder at ``out``.

    Args:
        job: the job.
        data: the folder of the site folders, or a single one.
        out: the run folder.
        init: a weights file or run folder to start from.
        gpus: numbers of the GPUs that the sites share; none by default.
        resume: go on from the last finished round of the run at ``out``.
        pictures: put pictures of patients into the shared part of the run, too.
        strict: take warnings about the data, and about the encoder of ``init``, as errors.
        overwrite: replace the run at ``out``.
        console: where to show how far the study is.

    Raises:
        FedSwinError: if something about the input is wrong, and then nothing has been written; or if the
            simulation fails, and then ``out/nvflare`` holds the logs, and the run can be resumed.
    """
    if resume:
        require_run_of(out, job)
    else:
        refuse_run(out, overwrite=overwrite)
    if resume and is_finished(out):
        if pictures:
            collect_pictures(out)
        console.print(f"{out} is finished, so there is nothing to resume.", markup=False)
        return
    plan = plan_study(job, data, init, strict=strict, console=console)
    sites = [site.name for site in plan.sites]
    initial = out / _WORKSPACE / messages.INITIAL_WEIGHTS
    with lock_run(out) as lock:
        if not resume:
            start_run(out, job)
        if not initial.exists():
            about = {"sites": {name: {} for name in sites}, **plan.initial.provenance(), **scenario_of(plan.sites)}
            write_provenance(out, job, "simulate", **about, finished=False)
            save_weights(initial, Weights(plan.initial.tensors, job))
        with StudyProgress(job, out, {name: out / "sites" / name for name in sites}, console) as progress:
            _run(job, plan.sites[0].folder.parent, out, sites, gpus, lock, progress)
        if pictures:
            collect_pictures(out)
    update_provenance(out, finished=True)


def _run(
    job: Job, data: Path, out: Path, sites: Sequence[str], gpus: Sequence[int], lock: TextIO, progress: StudyProgress
) -> None:
    """Run the simulator until it ends, and make sure that nothing of it is left."""
    mark, segment = new_mark(), _new_segment(out / _WORKSPACE)
    processes = SiteProcesses(mark, sites)
    with _short_path(segment) as link, (segment / "console.log").open("w") as log:
        command = [sys.executable, "-m", "fedswin.operations.simulation_process"]
        command += [str((out / _WORKSPACE / messages.INITIAL_WEIGHTS).absolute()), str(link), *_arguments(sites, gpus)]
        process = subprocess.Popen(
            command,
            env=_environment(job, data, out, sites, gpus) | {MARK_VARIABLE: mark},
            stdin=subprocess.PIPE,  # it ends when this comes to its end, which is when we are gone
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock.fileno()],  # so that nobody takes the run over while it still lives
        )
        try:
            while process.poll() is None:
                progress.update()
                processes.update()
                _refuse_too_few(job, processes.gone, sites)
                time.sleep(_POLL_SECONDS)
            progress.update()
        finally:
            end_family(mark)
            process.wait()
    _refuse_unfinished(job, out, segment)


def _refuse_too_few(job: Job, gone: Sequence[str], sites: Sequence[str]) -> None:
    """Raise if the processes of so many sites have ended that no round can succeed: NVFlare starts none again."""
    if len(sites) - len(gone) < job.federation.min_sites:
        raise FedSwinError(
            f"The processes of {', '.join(gone)} have ended, perhaps for want of memory, and federation.min_sites is "
            f"{job.federation.min_sites}. Go on from the last finished round with --resume."
        )


def _refuse_unfinished(job: Job, out: Path, segment: Path) -> None:
    """Raise unless the study has come to its end."""
    outcome = read_outcome(out)
    if outcome and outcome.is_final:
        return
    if outcome:
        raise FedSwinError(f"{outcome.message} The run is {out}, to go on with --resume.")
    rounds = max(0, len(read_records(out)) - 1)
    raise FedSwinError(
        f"The simulation ended after {rounds} of {job.federation.rounds} rounds. {_last_error(segment / job.name)}"
        f"Go on with --resume."
    )


def _new_segment(workspace: Path) -> Path:
    """Make a workspace for NVFlare, which empties the one it is given: the logs of earlier processes stay."""
    number = 1 + len(list(workspace.glob("segment*")))
    segment = workspace / f"segment{number}"
    segment.mkdir(parents=True)
    return segment


@contextmanager
def _short_path(workspace: Path) -> Iterator[Path]:
    """Give the workspace a path without spaces, since NVFlare splits its simulator's command at them."""
    with tempfile.TemporaryDirectory(prefix="fedswin-") as folder:
        link = Path(folder) / "workspace"
        link.symlink_to(workspace.absolute(), target_is_directory=True)
        yield link


def _environment(job: Job, data: Path, out: Path, sites: Sequence[str], gpus: Sequence[int]) -> dict[str, str]:
    """Tell the server and the sites where their data and their run are, and share out the machine."""
    threads = job.trainer.cpu_threads or max(1, (os.cpu_count() or 1) // len(sites))
    environment = {
        "MALLOC_ARENA_MAX": "1",  # the training thread shares the one heap that keep_freed_memory looks after
        **os.environ,
        messages.SITES_DATA_VARIABLE: str(data.absolute()),
        messages.RUN_VARIABLE: str(out.absolute()),
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


def _last_error(workspace: Path) -> str:
    lines = [
        line
        for log in sorted(workspace.glob("*/error_log.txt"))
        for line in log.read_text(errors="replace").splitlines()
        if "ERROR" in line or "Error:" in line
    ]
    last = f"The last error logged: {lines[-1].strip()} " if lines else ""
    return f"{last}The logs are in {workspace.parent}. "
