"""Training without a federation: one site alone, or all sites' cases pooled as the central baseline."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fedswin.config import Job
from fedswin.data.datalist import REGIONS, SPLITS, Site, is_site_folder
from fedswin.operations.collect_pictures import collect_pictures
from fedswin.operations.library_log import library_log
from fedswin.operations.made_sites import scenario_of
from fedswin.operations.preflight import plan_study
from fedswin.operations.progress import StudyProgress
from fedswin.outcome import all_rounds_done, forget_outcome, out_of_patience, write_outcome
from fedswin.provenance import holdings, update_provenance
from fedswin.records import Record, round_record
from fedswin.run_folder import JOB, RunFolder, delete_runs, describe_run, refuse_run, require_run_of, start_run
from fedswin.run_lock import lock_run
from fedswin.tasks import training_cases
from fedswin.training.journal import Journal
from fedswin.training.pictures import PictureLog
from fedswin.training.site_trainer import SiteTrainer
from fedswin.weights.file import load_parameters, parameters, save_whole
from fedswin.weights.handover import Handover

POOL = "pool"
CHECKPOINT = "checkpoint.pt"
LOG = "log.txt"

log = logging.getLogger(__name__)


def pool_sites(sites: Sequence[Site]) -> Site:
    """Return all sites' cases as one site, as if the scans had been shared."""
    splits = {
        split: [replace(case, site=site.name) for site in sites for case in site.cases(split)] for split in SPLITS
    }
    regions = tuple(region for region in REGIONS if any(region in site.regions for site in sites))
    return Site(POOL, sites[0].folder.parent, splits, regions)


def train(
    job: Job,
    data: Path,
    out: Path,
    *,
    pool: bool = False,
    pictures: bool = False,
    init: Path | None = None,
    resume: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    console: Console,
) -> None:
    """Train as many steps as the job has rounds x local steps, without a federation.

    Given a site folder, its run goes to ``out``; given a folder of site folders, each site is trained by
    itself into ``out/<site>``, or with ``pool`` all cases together into ``out``. A round is
    ``federation.local_steps``: after each the model is scored and a checkpoint written.

    Args:
        job: the job.
        data: a site folder, or a folder of site folders.
        out: the run folder, or the folder of run folders.
        pool: train on all sites' cases together.
        pictures: put pictures of patients into the shared part of the run, too.
        init: a weights file or run folder to start from.
        resume: go on from the last checkpoint of the run at ``out``.
        strict: take warnings about the data, and about the encoder of ``init``, as errors.
        overwrite: replace the run at ``out``.
        console: where to show how far it is.

    Raises:
        FedSwinError: if something about the input is wrong, and then nothing has been written; if another process
            writes the run; or if training fails.
    """
    if not resume:
        refuse_run(out, overwrite=overwrite)
    alone = job.changed("federation", min_sites=1)
    plan = plan_study(alone, data, init, strict=strict, console=console)
    sites = [pool_sites(plan.sites)] if pool else plan.sites
    runs = {site.name: out if pool or is_site_folder(data) else out / site.name for site in sites}
    if not resume and out.exists():
        delete_runs(out)
    pooled = [site.name for site in plan.sites] if pool else []
    about = {**plan.initial.provenance(), "pooled": pooled, **scenario_of(plan.sites)}
    for site in sites:
        console.print(f"{site.name} trains on {training_cases(job, site)} cases", markup=False)
        run = runs[site.name]
        has_begun = site is sites[0] or (run / JOB).exists()  # they take turns
        _train_site(job, site, plan.initial, run, about, resume and has_begun, console)
        if pictures:
            collect_pictures(run)


def _train_site(
    job: Job, site: Site, initial: Handover, out: Path, about: Mapping[str, Any], resume: bool, console: Console
) -> None:
    folder = out / "sites" / site.name
    if resume:
        require_run_of(out, job)
    with lock_run(out):
        path = folder / CHECKPOINT
        checkpoint = torch.load(path, map_location="cpu", weights_only=True) if resume and path.exists() else None
        if not resume:
            start_run(out, job)
        describe_run(out, job, "train", sites={site.name: {}}, **about)
        with (
            library_log(folder / LOG),
            StudyProgress(job, out, {site.name: folder}, console) as progress,
            closing(_LocalStudy(job, site, initial, out, checkpoint)) as study,
        ):
            for number in range(study.first, job.federation.rounds + 1):
                study.score(number)
                progress.update()
                if study.ends_with(number):
                    break
                study.train(number)
        done = number == job.federation.rounds
        write_outcome(out, all_rounds_done(job) if done else out_of_patience(job, number))
        if not done:
            console.print(f"{site.name} stops at round {number}, as federation.selection.patience says", markup=False)
        update_provenance(out, finished=True)


class _LocalStudy:
    """The rounds of a study that has one site and no server."""

    def __init__(self, job: Job, site: Site, initial: Handover, out: Path, checkpoint: dict[str, Any] | None) -> None:
        self._job = job
        self.first = checkpoint["round"] if checkpoint else 0
        self.folder = out / "sites" / site.name
        forget_outcome(out)
        self._run = RunFolder(out, job, first_round=self.first)
        self._pictures = PictureLog(self.folder)
        curve = partial(self._run.curves.add, site.name)
        self._trainer = SiteTrainer(_without_pull(job), site, Journal(self.folder), curve, pictures=self._pictures)
        update_provenance(out, sites={site.name: holdings(job, self._trainer.holdings)})
        self._site = site.name
        self._report: Record = {}
        load_parameters(
            self._trainer.model, checkpoint["model"] if checkpoint else initial.tensors, "the initial model"
        )
        if checkpoint:
            self._trainer.load_state_dict(checkpoint["trainer"])
            self._report = checkpoint["report"]

    def score(self, number: int) -> None:
        """Score model ``number`` and write its record."""
        score = self._trainer.score(number)._asdict()
        entry = {**self._report, **score, "validation_cases": self._trainer.task.validation_cases}
        record = round_record(number, "ok" if number else "initial", {self._site: entry})
        if note := self._run.close_round(record, parameters(self._trainer.model)):
            log.warning(note)

    def ends_with(self, number: int) -> bool:
        """Tell whether model ``number``, which has just been scored, is the last one."""
        return number == self._job.federation.rounds or self._run.selection.should_stop

    def train(self, number: int) -> None:
        """Make model ``number + 1`` of model ``number``, and write a checkpoint."""
        done = self._trainer.train(number)
        self._report = {"weight": done.cases, **asdict(done)}
        model = parameters(self._trainer.model)
        self._run.save_last(model, number + 1)
        checkpoint = {
            "round": number + 1,
            "model": model,
            "trainer": self._trainer.state_dict(),
            "report": self._report,
        }
        save_whole(self.folder / CHECKPOINT, checkpoint)

    def close(self) -> None:
        """Finish the curves and the pictures."""
        self._run.curves.close()
        self._pictures.close()


def _without_pull(job: Job) -> Job:
    """Switch FedProx off: one site alone has no global model to stay near."""
    return job.changed("federation", proximal=0.0)
