"""Every job file that ships is built, checked and run for a step, on generated data of its channels and labels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from fedswin.config import Job, load_job, parse_job
from fedswin.data.check import Demands, check_site
from fedswin.data.datalist import Case, Site, read_site, write_datalist
from fedswin.data.loading import Volumes
from fedswin.tasks import build_task
from fedswin.training.trainer import Trainer

FOLDER = Path(__file__).parents[1] / "jobs"
JOBS = sorted(FOLDER.rglob("*.yaml"))
SHAPE = (66, 66, 34)
SMALL = ["model.feature_size=12", "trainer.batch_size=2", "data.spacing=[2,2,2]"]


def small(path: Path) -> Job:
    """Return the job at the least size it can have."""
    job = load_job(path)
    needs_two_tokens = "vae" in job.pretraining.reconstruction_head or job.pretraining.token_pooling == "first"
    smallest = [32, 32, 32] if job.task == "pretrain" and not needs_two_tokens else [64, 32, 32]
    plane = {"x": [64, 32, 32], "z": smallest}[job.pretraining.rotation_axis]
    return load_job(path, [*SMALL, f"data.roi={plane}"])


def write_site(folder: Path, job: Job) -> Site:
    rng = np.random.default_rng(0)
    values = sorted(job.segmentation.known_values)
    cases = []
    for number in range(3):
        image, label = folder / f"image{number}.nii.gz", folder / f"label{number}.nii.gz"
        low, high = (-200, 300) if job.data.is_ct else (0, 900)
        voxels = rng.integers(low, high, (*SHAPE, len(job.data.channels))).astype(np.int16)
        voxels = voxels[..., 0] if voxels.shape[-1] == 1 else voxels
        folder.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), image)
        nib.save(nib.Nifti1Image(rng.choice(values, SHAPE).astype(np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])), label)
        cases.append(Case(image, label, f"patient{number}"))
    write_datalist(folder, {"training": cases[:1], "validation": cases[1:2], "test": cases[2:]})
    return read_site(folder)


@pytest.mark.parametrize("path", JOBS, ids=[path.stem for path in JOBS])
def test_the_job_runs_for_a_step(path: Path, tmp_path: Path) -> None:
    job = small(path)
    site = write_site(tmp_path / "site", job)
    found = check_site(site, Demands.of(job)).findings
    assert not found
    task = build_task(job, site, torch.device("cpu"))
    assert task.batch(0)[0].shape[1] == len(job.data.channels)
    before = [parameter.clone() for parameter in task.model.parameters()]
    losses = Trainer(task, job, torch.device("cpu")).run(1, 1)
    assert np.isfinite(losses["loss"])
    assert any(not torch.equal(old, new) for old, new in zip(before, task.model.parameters(), strict=True))


def test_the_job_in_the_page_can_be_read() -> None:
    page = (FOLDER / "README.md").read_text()
    job = parse_job(yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0]), "jobs/README.md")
    assert job.segmentation.known_values == {0, 1, 2, 3}


def test_the_names_of_jobs_are_the_names_of_their_files() -> None:
    assert {load_job(path).name.removeprefix("demo_") for path in JOBS} == {path.stem for path in JOBS}


def test_there_are_ten_tasks_of_the_decathlon_six_of_them_ct() -> None:
    jobs = [load_job(path) for path in JOBS if "_msd_" in path.stem]
    assert len(jobs) == 10
    assert sum(job.data.is_ct for job in jobs) == 6


def test_pretrain_yaml_is_the_papers_numbers_and_those_are_the_defaults() -> None:
    job = load_job(next(path for path in JOBS if path.stem == "pretrain" and path.parent.name == "jobs"))
    assert job.total_steps == 450_000
    for section in ("model", "data", "pretraining", "trainer"):
        assert getattr(job, section) == type(getattr(job, section))()


def test_an_image_of_other_channels_than_the_jobs_is_named(tmp_path: Path) -> None:
    job = small(next(path for path in JOBS if "task01" in path.stem))
    site = write_site(tmp_path / "site", job)
    [finding] = {
        finding.problem for finding in check_site(site, Demands(read_labels=False, channels=("T2", "ADC"))).findings
    }
    assert finding == "has the shape (66, 66, 34, 4), not 3-D with 2 channels"


def test_mri_is_scaled_by_channel_over_what_is_above_0(tmp_path: Path) -> None:
    job = small(next(path for path in JOBS if "task05" in path.stem))
    site = write_site(tmp_path / "site", job)

    image = Volumes(site.cases("training"), job)[0].image()
    for channel in image:
        inside = channel[channel != 0]
        assert float(inside.mean()) == pytest.approx(0, abs=1e-3)
        assert float(inside.std()) == pytest.approx(1, abs=1e-3)
