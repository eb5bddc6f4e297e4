"""What one check of a kit found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "error", "not done"]


@dataclass(frozen=True)
class Result:
    """One thing that was checked.

    Attributes:
        name: what was checked, in a word or two.
        state: how it is.
        found: what was found.
        fix: what to do; empty if it is well.
    """

    name: str
    state: State
    found: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + (f". {self.fix}" if self.fix else "")
