"""Runs the benchmarks that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fedswin.benchmarks import encoding_cost, exchange, federation, infer, load, server, step
from fedswin.benchmarks.row import Row, attempted
from fedswin.benchmarks.setup import Setup
from fedswin.errors import FedSwinError, nearest

KINDS: dict[str, Sequence[Callable[[Setup], Iterator[Row]]]] = {
    step.KIND: [step.rows],
    load.KIND: [load.rows],
    exchange.KIND: [exchange.rows, encoding_cost.rows],
    server.KIND: [server.rows],
    federation.KIND: [federation.rows],
    infer.KIND: [infer.rows],
}
"""What can be measured, in the order of the table."""


def refuse_unknown(kinds: Sequence[str]) -> None:
    """Make sure that all ``kinds`` can be measured.

    Raises:
        FedSwinError: if one is unknown.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise FedSwinError(f"bench {kind}: unknown{nearest(kind, KINDS)}. There are {', '.join(KINDS)}.")


def measure(kinds: Sequence[str], setup: Setup) -> Iterator[Row]:
    """Yield the rows of ``kinds``, as they are measured; what fails is a row that says why."""
    for kind in KINDS:
        for rows in KINDS[kind] if kind in kinds else ():
            yield from attempted(kind, "what was to follow", rows(setup))
