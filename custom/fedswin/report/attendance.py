"""Who took part in which round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fedswin.records import Record

State = Literal["trained", "scored", "late", "refused", "missing", "absent"]
"""What a site did in a round: ``scored`` the global model without training it; ``absent`` was not asked."""

_SHOWN_ONE_BY_ONE = 60


@dataclass(frozen=True)
class Span:
    """Rounds in a row in which a site did the same.

    Attributes:
        state: what it did.
        first: the first of the rounds.
        last: the last of them.
    """

    state: State
    first: int
    last: int

    @property
    def rounds(self) -> str:
        """The rounds, for people."""
        return f"round {self.first}" if self.first == self.last else f"rounds {self.first}–{self.last}"


@dataclass(frozen=True)
class Refusal:
    """An update that was not taken."""

    round: int
    site: str
    reason: str


def attendance(rounds: Sequence[Record], sites: Sequence[str]) -> dict[str, dict[int, State]]:
    """Return what each site did in each round.

    Args:
        rounds: the records of the rounds, without that of the initial model.
        sites: the names of the sites.
    """
    # A late entry names the model that the site was training: that of the round before its own.
    late = {(entry["site"], entry["round"] + 1) for record in rounds for entry in record.get("late", [])}
    return {
        site: {r["round"]: "late" if (site, r["round"]) in late else _state(site, r) for r in rounds} for site in sites
    }


def spans(states: Mapping[int, State]) -> list[Span]:
    """Return the rounds one by one, or, if there are many, those in a row that are alike together."""
    found: list[Span] = []
    for number, state in states.items():
        if len(states) > _SHOWN_ONE_BY_ONE and found and found[-1].state == state:
            found[-1] = Span(state, found[-1].first, number)
        else:
            found.append(Span(state, number, number))
    return found


def refusals(rounds: Sequence[Record]) -> list[Refusal]:
    """Return every update that was refused, with the reason."""
    return [Refusal(r["round"], entry["site"], entry["reason"]) for r in rounds for entry in r.get("refused", [])]


def _state(site: str, record: Record) -> State:
    if any(entry["site"] == site for entry in record.get("refused", [])):
        return "refused"
    if site in record.get("missing", []):
        return "missing"
    line = record["sites"].get(site)
    if line is None:
        return "absent"
    return "trained" if "weight" in line else "scored"
