"""A row of the table: one figure of FedSwin's, beside the same figure of what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from fedswin.errors import FedSwinError


@dataclass(frozen=True)
class Bar:
    """What a figure is to reach.

    Attributes:
        of: which figure: the median of the ratios, or the median of what was measured of FedSwin itself.
        limit: the bar.
        at_least: whether the figure must reach the limit; otherwise it must not exceed it.
    """

    of: Literal["ratio", "ours"]
    limit: float
    at_least: bool


@dataclass(frozen=True)
class Growth:
    """The place of a row in a chart of how a cost grows.

    Attributes:
        chart: the chart's title.
        axis: what it grows with, with its unit.
        x: how much of that there is.
        unit: of the cost.
        ours: the name of FedSwin's line.
        work: if the row's unit is a speed, how much work the cost is of: it is then ``work`` divided by the speed.
    """

    chart: str
    axis: str
    x: int
    unit: str
    ours: str = "FedSwin"
    work: float | None = None

    def cost(self, figure: float) -> float:
        """Return the cost that a figure of the row stands for."""
        return self.work / figure if self.work else figure


@dataclass(frozen=True)
class Row:
    """One comparison, with every sample.

    Attributes:
        kind: the argument of ``fedswin bench`` that it belongs to.
        subject: what was measured.
        figure: what of it.
        unit: of all samples.
        ours: FedSwin's samples.
        against: what it is compared with; empty if with nothing.
        other: the samples of that, each taken right after FedSwin's of the same place.
        bars: what is to be reached.
        growths: where it is in charts.
        not_measured: why there is no sample, if there is none.
    """

    kind: str
    subject: str
    figure: str = ""
    unit: str = ""
    ours: Sequence[float] = ()
    against: str = ""
    other: Sequence[float] = ()
    bars: Sequence[Bar] = ()
    growths: Sequence[Growth] = ()
    not_measured: str = ""

    @property
    def ratios(self) -> list[float]:
        """FedSwin's sample divided by the other one, pair by pair."""
        return [mine / theirs for mine, theirs in zip(self.ours, self.other, strict=True)] if self.other else []

    def meets(self, bar: Bar) -> bool | None:
        """Tell whether a bar is met; ``None`` if nothing was measured."""
        samples = self.ratios if bar.of == "ratio" else self.ours
        if not samples:
            return None
        figure = median(samples)
        return figure >= bar.limit if bar.at_least else figure <= bar.limit


def attempted(kind: str, subject: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield ``rows``; if measuring one fails, in its place a row of ``subject`` that says why."""
    try:
        yield from rows
    except FedSwinError as error:
        yield Row(kind, subject, not_measured=str(error))
