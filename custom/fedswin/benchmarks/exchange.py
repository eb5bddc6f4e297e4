"""What a site sends in a round: FedSwin's encodings, and the whole ``state_dict`` that a stock recipe sends."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import get_args

import torch
from safetensors.torch import load
from torch import nn

from fedswin.benchmarks.plain import PlainPretrainer
from fedswin.benchmarks.row import Bar, Growth, Row
from fedswin.benchmarks.setup import Setup
from fedswin.benchmarks.sides import Build, Run, Work, in_turn, seconds
from fedswin.config import Encoding, Job
from fedswin.federation.exchange import Download, ServerExchange, serialised
from fedswin.federation.site_model import SiteModel
from fedswin.segmentation.model import build_segmenter
from fedswin.tasks import build_model
from fedswin.weights.file import parameters

KIND = "exchange"
_STOCK = "whole state_dict"
_A_QUARTER = Bar("ratio", 0.25, at_least=False)
_WIDEST = 48
_STEP = 1e-3
"""How far a parameter is moved by training, on average: of the order of a learning rate times some steps."""


def rows(setup: Setup) -> Iterator[Row]:
    """Measure one update of one site in each encoding, of pre-training and of fine-tuning."""
    for width in (12,) if setup.quick else (12, 24, _WIDEST):
        yield from _measured(setup, setup.pretraining(width, 64), width)
    width = 12 if setup.quick else _WIDEST
    yield from _measured(setup, setup.finetuning(width, (96, 96, 96)), width)


def fedswin_exchange(job: Job, encoding: Encoding) -> Work:
    """Make the work of one update: encoded, serialised, read and decoded; it returns the bytes sent."""
    federation = job.federation.model_copy(update={"exchange": encoding})
    model = build_model(job)
    first = parameters(model)
    site, server = SiteModel(model, federation), ServerExchange(encoding, first)
    site.load(Download(first, 0, whole=True))
    _train(model)

    def send() -> int:
        sent = list(serialised(site.update()))
        server.read({name: tensor for part in sent for name, tensor in load(part).items()})
        return sum(map(len, sent))

    return send


def stock_exchange(job: Job) -> Work:
    """Make the work of one update of a stock recipe; it returns the bytes sent."""
    state = _plain_model(job).state_dict()

    def send() -> int:
        sent = list(serialised(state))
        for part in sent:
            load(part)
        return sum(map(len, sent))

    return send


def _measured(setup: Setup, job: Job, width: int) -> Iterator[Row]:
    what = f"{'pre-training' if job.task == 'pretrain' else 'fine-tuning'} update, feature size {width}"
    setup.progress(what)
    sides: dict[str, Build] = {name: partial(fedswin_exchange, job, name) for name in get_args(Encoding)}
    runs = in_turn({**sides, "stock": partial(stock_exchange, job)}, setup.repeats, setup.threads)
    stock = runs.pop("stock")
    for name, mine in runs.items():
        bars = (_A_QUARTER,) if name == "int8" and width == _WIDEST else ()
        chart = f"A {what.partition(',')[0]}"
        growths = (Growth(chart, "feature size", width, "MB", name),)
        yield Row(KIND, what, f"{name}, bytes", "MB", _megabytes(mine), _STOCK, _megabytes(stock), bars, growths)
        yield Row(KIND, what, f"{name}, there and back", "s", seconds(mine), _STOCK, seconds(stock))


def _megabytes(runs: list[Run]) -> list[float]:
    return [run.result / 1e6 for run in runs[:1]]  # the same in each


def _plain_model(job: Job) -> nn.Module:
    if job.task == "pretrain":
        return PlainPretrainer(job.model.feature_size)
    return build_segmenter(job)


@torch.no_grad()
def _train(model: nn.Module) -> None:
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=_STEP)
