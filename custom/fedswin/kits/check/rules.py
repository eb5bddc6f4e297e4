"""Whether the rules that NVFlare reads in a kit are those that FedSwin writes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result
from fedswin.kits.kit import Kit, read_rules
from fedswin.kits.policy import restrict_server, restrict_site

_FILES = ("resources.json", "authorization.json", "privacy.json")


def check_rules(context: Context) -> Iterator[Result]:
    """The owner of a kit may change them; what a job may do is then no longer what was agreed."""
    kit = context.kit
    differences = min((_differences(kit, code_in_jobs) for code_in_jobs in (False, True)), key=len)
    for difference in differences:
        fix = "Unless you changed it yourself and know why, ask the study lead for the kit's folder 'local' again."
        yield Result("rules", "warning", f"{difference} is not as FedSwin writes it", fix)
    if not differences:
        yield Result("rules", "ok", "what jobs and people may do is as FedSwin writes it")


def _differences(kit: Kit, code_in_jobs: bool) -> list[str]:
    """Compare the rules with new ones, made from NVFlare's defaults beside them, and name what differs."""
    with tempfile.TemporaryDirectory() as room:
        for path in kit.local.glob("*.default"):
            shutil.copy(path, room)
        restrict = restrict_site if kit.role == "site" else restrict_server
        restrict(Path(room), code_in_jobs=code_in_jobs)
        wanted = {name: json.loads((Path(room) / name).read_text()) for name in _FILES if (Path(room) / name).exists()}
    return [found for name, rules in wanted.items() for found in _compare(name, read_rules(kit, name), rules)]


def _compare(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [f"'{key}' in local/{name}" for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
