"""A training step, loader included: FedSwin's, and MONAI's modules in a plain loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from fedswin.benchmarks.plain import PlainFinetuning, PlainPretraining
from fedswin.benchmarks.row import Bar, Growth, Row, attempted
from fedswin.benchmarks.setup import DEVICE_NAMES, NO_GPU, Device, Setup, is_there
from fedswin.benchmarks.sides import Work, in_turn, peak_row, rates
from fedswin.config import Job
from fedswin.data.datalist import Case, Site
from fedswin.training.journal import Journal
from fedswin.training.site_trainer import SiteTrainer

KIND = "step"
_PLAIN = "plain MONAI"
_VIEWS = 4
_REFERENCE_VIEWS_PER_SECOND = _VIEWS / 24
"""The paper's published script at feature size 48 and ROI 64, measured on two CPU cores."""
_FASTER = Bar("ratio", 1.5, at_least=True)
_AHEAD_OF_THE_SCRIPT = Bar("ours", 3 * _REFERENCE_VIEWS_PER_SECOND, at_least=True)
_SMALLER = Bar("ratio", 0.6, at_least=False)
_BY_WIDTH, _BY_ROI = "feature size, at ROI 64", "side of the ROI in voxels, at feature size 12"


class _Point(NamedTuple):
    """A size that pre-training is measured at, and its place in the charts: along which axis, and where."""

    feature_size: int
    side: int
    places: Mapping[str, int]


_THE_ONE_WITH_BARS = _Point(48, 64, {_BY_WIDTH: 48})
_POINTS = (
    _THE_ONE_WITH_BARS,
    _Point(24, 64, {_BY_WIDTH: 24}),
    _Point(12, 64, {_BY_WIDTH: 12, _BY_ROI: 64}),
    _Point(12, 32, {_BY_ROI: 32}),
    _Point(12, 96, {_BY_ROI: 96}),
)
_QUICK_POINTS = (_Point(12, 32, {_BY_ROI: 32}),)


def rows(setup: Setup) -> Iterator[Row]:
    """Measure pre-training at several sizes, and fine-tuning."""
    for device in setup.devices:
        if not is_there(device):
            yield Row(KIND, "training steps on a GPU", not_measured=NO_GPU)
            continue
        for point in _QUICK_POINTS if setup.quick else _POINTS:
            what = f"pre-training, feature size {point.feature_size}, ROI {point.side}, 4 views, {DEVICE_NAMES[device]}"
            setup.progress(what)
            yield from attempted(KIND, what, _pretraining(setup, device, point, what))
        what = f"fine-tuning, feature size 12, ROI 64 x 32 x 32, {DEVICE_NAMES[device]}"
        setup.progress(what)
        yield from attempted(KIND, what, _finetuning(setup, device, what))


def _pretraining(setup: Setup, device: Device, point: _Point, what: str) -> Iterator[Row]:
    width, side, places = point
    job = setup.pretraining(width, side, device)
    journal = setup.folder / f"journal_{device}_{width}_{side}"
    runs = in_turn(
        {
            "ours": partial(fedswin_step, job, setup.site, journal),
            "plain": partial(plain_pretraining, job, setup.site.cases("training")),
        },
        setup.repeats,
        setup.threads,
    )
    with_bars = point is _THE_ONE_WITH_BARS and device == "cpu"
    yield Row(
        KIND,
        what,
        "speed",
        "views/s",
        rates(runs["ours"], _VIEWS),
        _PLAIN,
        rates(runs["plain"], _VIEWS),
        (_FASTER, _AHEAD_OF_THE_SCRIPT) if with_bars else (),
        [Growth(f"A step of 4 views, {device}", axis, x, "seconds", work=_VIEWS) for axis, x in places.items()],
    )
    growths = [Growth(f"Peak memory of that step, {device}", axis, x, "MB") for axis, x in places.items()]
    yield peak_row(KIND, what, _PLAIN, runs, (_SMALLER,) if with_bars else (), growths)


def _finetuning(setup: Setup, device: Device, what: str) -> Iterator[Row]:
    job, site = setup.finetuning(12, (64, 32, 32), device), setup.labelled_site
    runs = in_turn(
        {
            "ours": partial(fedswin_step, job, site, setup.folder / f"journal_finetune_{device}"),
            "plain": partial(plain_finetuning, job, site.cases("training", labelled=True)),
        },
        setup.repeats,
        setup.threads,
    )
    yield Row(KIND, what, "speed", "sub-volumes/s", rates(runs["ours"], 1), _PLAIN, rates(runs["plain"], 1))
    yield peak_row(KIND, what, _PLAIN, runs)


def fedswin_step(job: Job, site: Site, journal: Path) -> Work:
    """Make the work of one step of a site, with all that a round of one step does."""
    trainer = SiteTrainer(job, site, Journal(journal), lambda tag, value, step: None)
    rounds = count()

    def step() -> None:
        trainer.train(next(rounds))

    return step


def plain_pretraining(job: Job, cases: Sequence[Case]) -> Work:
    """Make the work of one plain step of pre-training."""
    return PlainPretraining(job, cases).step


def plain_finetuning(job: Job, cases: Sequence[Case]) -> Work:
    """Make the work of one plain step of fine-tuning."""
    return PlainFinetuning(job, cases).step
