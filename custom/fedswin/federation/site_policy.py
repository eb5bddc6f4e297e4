"""What a site allows: its own file in its kit, which no job and nobody else can change."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from fedswin.federation import messages
from fedswin.settings import Section, parse_section, read_mapping

SITE_POLICY = Path("local", "site.yaml")
"""Where a kit has it."""


class SitePolicy(Section):
    """What may run at a site, on what, and which scalars may leave it. The defaults hold where the file is silent."""

    data: Path | None = None
    """The site's data folder, which the environment variable ``FEDSWIN_SITE_DATA`` goes before."""
    jobs: list[str] = Field(default_factory=lambda: ["*"])
    """The ``name`` of the jobs that may run here; ``*`` and ``?`` stand for any text and any character."""
    code_in_jobs: bool = False
    """Whether a job may bring code."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """The most GPUs that a job may ask for."""
    processes: Annotated[int, Field(ge=1)] | None = None
    """Trainer processes of a job; null starts one for each GPU that the job was given, and at least one."""
    cpu_threads: Annotated[int, Field(ge=1)] | None = None
    """The most CPU threads that a trainer process may use; null sets no limit."""
    min_cases: Annotated[int, Field(ge=1)] = 1
    """A job that finds fewer training cases does not train here."""
    scalars: list[str] = Field(default_factory=lambda: ["*"])
    """Names of the metrics and losses that may leave, with ``*`` and ``?`` as in ``jobs``."""

    pictures: bool = True
    """Whether pictures of a validation case are drawn in the site's own study folder; no job can have them sent."""

    def allows_job(self, name: str) -> bool:
        """Whether a job with this name may run here."""
        return _matches(name, self.jobs)

    def allows_scalar(self, name: str) -> bool:
        """Whether a metric or a loss with this name may leave."""
        return _matches(name, self.scalars)


def load_site_policy(kit: Path) -> SitePolicy:
    """Read the policy of a site's kit; one without the file has the defaults. A relative ``data`` is below the kit.

    Raises:
        FedSwinError: if it cannot be read, or a key or value in it is wrong.
    """
    path = kit / SITE_POLICY
    if not path.exists():
        return SitePolicy()
    policy = parse_section(SitePolicy, read_mapping(path, "site's policy", "'data'"), str(path))
    return policy.model_copy(update={"data": kit / policy.data}) if policy.data else policy


def site_data_folder(policy: SitePolicy) -> Path | None:
    """Return the site's data folder: what the environment names, else what the policy does."""
    named = os.environ.get(messages.SITE_DATA_VARIABLE)
    return Path(named) if named else policy.data


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
