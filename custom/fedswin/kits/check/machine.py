"""Whether this machine has what was promised of it: GPUs and room on its disks."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fedswin.federation.site_policy import SITE_POLICY, load_site_policy
from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result, State
from fedswin.kits.kit import Kit

_WARN_GB, _LEAST_GB = 10, 2
"""A study keeps a few models of 0.25 GB and their optimizer's state, which is twice as large, and a job brings one."""


def check_gpus(context: Context) -> Iterator[Result]:
    """NVFlare refuses to start with fewer GPUs than promised, or with less memory on one."""
    manager = _resource_manager(context.kit)
    promised, memory = manager.get("num_of_gpus", 0), manager.get("mem_per_gpu_in_GiB", 0)
    there = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    sizes = [device.total_memory / 2**30 for device in there]
    found = ", ".join(f"{device.name} with {size:.0f} GiB" for device, size in zip(there, sizes, strict=True)) or "none"
    place = context.kit.local / "resources.json"
    if len(there) < promised or any(size < memory for size in sizes[:promised]):
        problem = f"{place} promises {promised} with {memory} GiB or more, and there are: {found}"
        fix = "Install the driver and a torch that sees them, or ask the study lead for a kit with fewer."
        yield Result("GPUs", "error", problem, fix)
    elif len(there) < (allowed := load_site_policy(context.kit.folder).gpus):
        problem = f"{SITE_POLICY} allows {allowed}, and there are: {found}"
        yield Result("GPUs", "error", problem, f"Lower 'gpus' in {SITE_POLICY}, or install what is missing.")
    else:
        yield Result("GPUs", "ok", f"{found}; promised: {promised}")


def check_disk(context: Context) -> Iterator[Result]:
    """Jobs, models and logs need room in the kit, and the exchange of models needs it among temporary files."""
    temporary = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    for name, folder, move in (
        ("disk of the kit", context.kit.folder, "move the kit to a larger disk"),
        ("temporary files", temporary, "set TMPDIR to a folder on a larger disk"),
    ):
        free = shutil.disk_usage(folder).free / 1e9
        state: State = "error" if free < _LEAST_GB else "warning" if free < _WARN_GB else "ok"
        fix = "" if state == "ok" else f"Free {_WARN_GB} GB, or {move}."
        yield Result(name, state, f"{free:.1f} GB are free in {folder}", fix)


def _resource_manager(kit: Kit) -> dict[str, Any]:
    """Return the arguments of the component that NVFlare asks for GPUs."""
    resources = json.loads((kit.local / "resources.json").read_text())
    for component in resources["components"]:
        if component["id"] == "resource_manager":
            return component.get("args", {})
    return {}
