"""One fault of a site's data, and how faults are collected, grouped and refused."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedswin.data.datalist import Case, Site
from fedswin.data.volume import VolumeError
from fedswin.errors import FedSwinError

_NUMBERS = re.compile(r"\d[\d., -]*")


@dataclass(frozen=True)
class Finding:
    """One fault: how bad it is, which files or list it is about, the problem, and what to do.

    ``case`` is the case that the file belongs to, ``None`` for a fault that is not of one case.
    """

    severity: Literal["error", "warning"]
    where: str
    problem: str
    fix: str
    case: Case | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}. {self.fix}"


def fatal(findings: Sequence[Finding], *, strict: bool = False) -> list[Finding]:
    """Return the errors among ``findings``; with ``strict`` the warnings, too."""
    return [finding for finding in findings if strict or finding.severity == "error"]


def by_severity(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how many ``findings`` are errors and how many warnings, ``{"error": n, "warning": n}``."""
    errors = len(fatal(findings))
    return {"error": errors, "warning": len(findings) - errors}


def require_sound(findings: Sequence[Finding], *, strict: bool = False) -> list[Finding]:
    """Return the warnings among ``findings``.

    Raises:
        FedSwinError: if there is an error, or with ``strict`` a warning; it lists them, one a line.
    """
    if faults := fatal(findings, strict=strict):
        lines = "".join(f"\n- {finding}" for finding in faults)
        raise FedSwinError(f"The data cannot be used as it is; faults found: {len(faults)}.{lines}")
    return list(findings)


def grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Put together the findings that differ in nothing but their place and their numbers; errors come first."""
    groups: defaultdict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.severity, _NUMBERS.sub("#", finding.problem), _NUMBERS.sub("#", finding.fix)].append(finding)
    return sorted(groups.values(), key=lambda group: group[0].severity == "warning")


def few(items: Sequence[str]) -> str:
    """Name the first three of ``items``."""
    return ", ".join(items[:3]) + (" …" if len(items) > 3 else "")


@contextmanager
def collected(site: Site, findings: list[Finding], case: Case | None = None) -> Iterator[None]:
    """Turn a `VolumeError` of the block into an error among ``findings``."""
    try:
        yield
    except VolumeError as error:
        findings.append(Finding("error", place(site, error.path), error.problem, error.fix, case))


def place(site: Site, path: Path) -> str:
    """Name a file for people: ``<site>/<path in its folder>``, or in full if it lies elsewhere."""
    inner = inside(site, path)
    return f"{site.name}/{inner.as_posix()}" if inner else str(path)


def inside(site: Site, path: Path) -> Path | None:
    """Return ``path`` as seen from the site's folder, or ``None`` if it leaves the folder; links are not followed."""
    folder, path = (Path(os.path.abspath(part)) for part in (site.folder, path))
    return path.relative_to(folder) if path.is_relative_to(folder) else None
