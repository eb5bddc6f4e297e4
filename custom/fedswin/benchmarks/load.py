"""From a file to a sub-volume: FedSwin's loading, and MONAI's ``PersistentDataset`` and ``CacheDataset``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Literal

import torch
from monai.data import Dataset
from torch import Tensor

from fedswin.benchmarks.plain import batches, cached, persistent, random_crop, turned, with_cut_out
from fedswin.benchmarks.row import Row
from fedswin.benchmarks.setup import Setup
from fedswin.benchmarks.sides import Build, Work, in_turn, rates
from fedswin.config import Job
from fedswin.data.datalist import Case, Site
from fedswin.data.loading import Volumes
from fedswin.pretraining.task import PretrainingTask

KIND = "load"
_VIEWS = 4
_BATCHES = 4
"""In one sample, since one batch takes a few milliseconds."""


def rows(setup: Setup) -> Iterator[Row]:
    """Measure cases that are read for the first time, cached ones, and batches of cached ones."""
    cases, site = setup.site.cases("training"), setup.site
    disk, memory = (_job(setup, cache) for cache in ("disk", "memory"))
    ours, theirs = setup.folder / "cache", setup.folder / "persistent"

    def measured(what: str, unit: str, amount: float, against: str, mine: Build, plain: Build) -> Row:
        setup.progress(what)
        runs = in_turn({"ours": mine, "plain": plain}, setup.repeats, setup.threads)
        return Row(KIND, what, "speed", unit, rates(runs["ours"], amount), against, rates(runs["plain"], amount))

    yield measured(
        "cases cold, from NIfTI into the cache on disk",
        "volumes/s",
        len(cases),
        "PersistentDataset",
        partial(fedswin_cold, disk, cases, ours),
        partial(plain_cold, disk, cases, theirs),
    )
    yield measured(
        "whole cases from the cache on disk",
        "volumes/s",
        1,
        "PersistentDataset",
        partial(fedswin_volume, disk, cases, ours),
        partial(plain_volume, disk, cases, theirs),
    )
    yield measured(
        "batches of 4 views from the cache on disk",
        "views/s",
        _BATCHES * _VIEWS,
        "PersistentDataset",
        partial(fedswin_batch, disk, site, ours),
        partial(plain_batch, disk, cases, theirs),
    )
    yield measured(
        "batches of 4 views from memory",
        "views/s",
        _BATCHES * _VIEWS,
        "CacheDataset",
        partial(fedswin_batch, memory, site, ours),
        partial(plain_batch, memory, cases, theirs),
    )


def fedswin_cold(job: Job, cases: Sequence[Case], folder: Path) -> Work:
    """Make the work of filling an empty cache."""
    numbers = count()

    def read() -> None:
        os.environ["FEDSWIN_CACHE"] = str(folder / f"cold{next(numbers)}")
        Volumes(cases, job)

    return read


def plain_cold(job: Job, cases: Sequence[Case], folder: Path) -> Work:
    """Make the same work of a ``PersistentDataset``."""
    numbers = count()

    def read() -> None:
        for _ in persistent(job, cases, folder / f"cold{next(numbers)}"):
            pass

    return read


def fedswin_volume(job: Job, cases: Sequence[Case], folder: Path) -> Work:
    """Make the work of reading every voxel of a cached case."""
    os.environ["FEDSWIN_CACHE"] = str(folder)
    volumes, numbers = Volumes(cases, job), cycle(range(len(cases)))
    return lambda: float(volumes[next(numbers)].image().mean())


def plain_volume(job: Job, cases: Sequence[Case], folder: Path) -> Work:
    """Make the same work of a ``PersistentDataset``."""
    data, numbers = _filled(persistent(job, cases, folder)), cycle(range(len(cases)))
    return lambda: float(data[next(numbers)]["image"].mean())


def fedswin_batch(job: Job, site: Site, folder: Path) -> Work:
    """Make the work of drawing batches of a pre-training task."""
    os.environ["FEDSWIN_CACHE"] = str(folder)
    task, numbers = PretrainingTask(job, site, torch.device("cpu"), lambda _: None), count()

    def draw() -> None:
        for _ in range(_BATCHES):
            task.batch(next(numbers))

    return draw


def plain_batch(job: Job, cases: Sequence[Case], folder: Path) -> Work:
    """Make the work of drawing the same batches with MONAI: crops, two views of each, turned and with cut-out."""
    crop = [random_crop(job)]
    if job.data.cache == "disk":
        data = _filled(persistent(job, cases, folder, crop))
    else:
        data = cached(job, cases, crop)
    crops = batches(job, data)

    def draw() -> None:
        for _ in range(_BATCHES):
            _two_views(next(crops))

    return draw


def _two_views(crops: Tensor) -> None:
    for _ in range(2):
        with_cut_out(turned(crops)[0])


def _filled(data: Dataset) -> Dataset:
    """Return a data set after its cache has been filled."""
    for _ in data:
        pass
    return data


def _job(setup: Setup, cache: Literal["disk", "memory"]) -> Job:
    return setup.pretraining(12, 32 if setup.quick else 64).changed("data", cache=cache)
