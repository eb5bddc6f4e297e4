"""A simulated study of three sites, beside the same steps without a federation, and where the rest of the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from fedswin.benchmarks.phases import Phases
from fedswin.benchmarks.row import Bar, Row
from fedswin.benchmarks.setup import Setup
from fedswin.benchmarks.sides import Work, in_turn
from fedswin.config import Job
from fedswin.operations.simulate import simulate
from fedswin.operations.train import train
from fedswin.records import read_records

KIND = "federation"
_ALONE = "each site alone"
_A_LITTLE_MORE = Bar("ratio", 1.15, at_least=False)
_SOON = Bar("ours", 20.0, at_least=False)


class Times(NamedTuple):
    """Where the seconds of a study went, or of several runs together.

    Attributes:
        start: until the first step of the first site.
        rest: from there on.
        training: of these, in optimizer steps; of a federation the mean over the sites, as in the next ones.
        scoring: in scoring global models.
        others: in waiting for other sites.
    """

    start: float
    rest: float
    training: float
    scoring: float
    others: float


def rows(setup: Setup) -> Iterator[Row]:
    """Measure a study in the simulator and the same steps by ``fedswin train`` at each site."""
    rounds, steps = (1, 2) if setup.quick else (3, 20)
    # No CPU threads: the simulator shares the cores among the sites, and `train` takes all.
    job = setup.demo_pretraining(4, {}, {"rounds": rounds, "local_steps": steps})
    what = f"3 sites, {job.federation.rounds} rounds of {job.federation.local_steps} steps"
    setup.progress(f"a simulated study: {what}")
    sides = {
        "together": partial(together, job, setup.phantoms, setup.folder / "together"),
        "alone": partial(alone, job, setup.phantoms, setup.folder / "alone"),
    }
    repeats = 1 if setup.quick else setup.repeats
    runs = in_turn(sides, repeats, setup.threads, warm_ups=0)
    ours, other = ([run.result for run in runs[name]] for name in sides)

    def row(part: str, mine: Sequence[float], theirs: Sequence[float] = (), bars: Sequence[Bar] = ()) -> Row:
        return Row(KIND, what, part, "s", mine, _ALONE if theirs else "", theirs, bars)

    yield row("until the first step", [t.start for t in ours], [t.start for t in other], (_SOON,))
    yield row("from there on", [t.rest for t in ours], [t.rest for t in other], (_A_LITTLE_MORE,))
    yield row("of these training", [t.training for t in ours], [t.training for t in other])
    yield row("scoring", [t.scoring for t in ours], [t.scoring for t in other])
    yield row("waiting for other sites", [t.others for t in ours])
    yield row("exchange, aggregation, files and the end", [t.rest - t.training - t.scoring - t.others for t in ours])


def together(job: Job, sites: Sequence[Path], folder: Path) -> Work:
    """Make the work of a study in the simulator."""
    numbers = count()

    def run() -> Times:
        out = folder / str(next(numbers))
        with Phases([out / "sites" / site.name for site in sites]) as phases:
            simulate(job, sites[0].parent, out, console=Console(quiet=True))
        waiting = [site.get("waiting", 0.0) for record in read_records(out) for site in record["sites"].values()]
        others = sum(waiting) / len(sites)
        return Times(phases.before, phases.after, phases.of("training"), phases.of("scoring"), others)

    return run


def alone(job: Job, sites: Sequence[Path], folder: Path) -> Work:
    """Make the work of the same steps at each site by itself, one after the other."""
    numbers = count()

    def run() -> Times:
        out = folder / str(next(numbers))
        each = [_alone(job, site, out / site.name) for site in sites]
        return Times(*(sum(parts) for parts in zip(*each, strict=True)))

    return run


def _alone(job: Job, site: Path, out: Path) -> Times:
    with Phases([out / "sites" / site.name]) as phases:
        train(job, site, out, console=Console(quiet=True))
    return Times(phases.before, phases.after, phases.of("training"), phases.of("scoring"), 0.0)
