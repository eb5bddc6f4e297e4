"""What the owner of a kit has set for it."""

from __future__ import annotations

from collections.abc import Iterator

from fedswin.federation.site_policy import SITE_POLICY, load_site_policy
from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result
from fedswin.kits.environment import ENVIRONMENT, read_environment


def check_environment(context: Context) -> Iterator[Result]:
    """The file of environment variables can be read."""
    names = read_environment(context.kit.local)
    yield Result("environment", "ok", f"local/{ENVIRONMENT} sets {', '.join(names) or 'nothing'}")


def check_policy(context: Context) -> Iterator[Result]:
    """The site's policy can be read."""
    policy = load_site_policy(context.kit.folder)
    there = "" if (context.kit.folder / SITE_POLICY).exists() else f"no {SITE_POLICY}, so the defaults hold: "
    code = "may" if policy.code_in_jobs else "may not"
    jobs = f"jobs named {', '.join(policy.jobs)} may run, on {policy.gpus} GPUs at most, and {code} bring code"
    yield Result("policy", "ok", f"{there}{jobs}")
