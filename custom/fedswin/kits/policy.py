"""What the process of a kit may do: which classes a job may use, what a person may order, what leaves a site."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedswin.federation.launcher import SiteLauncher
from fedswin.federation.recipe import SERVER_CLASSES, SITE_CLASSES, class_paths
from fedswin.federation.storage import KitStorage

_DENIED = ("byoc", "server-predeployed-flwr", "shell_commands")
"""Rights that no role has: to bring code or another framework's app, and to look at a site's files."""

_JOB_COMMANDS = ("app_command", "download_job_components", "get_job_log", "list_job")
"""Commands about a job that NVFlare puts in no category; who may download the job's result has them too."""
_ADMIN_SECONDS = 300.0
"""How long the server waits for sites to take a job's files, which hold the initial weights; 10 s is too short."""


def restrict_server(local: Path) -> None:
    """Let jobs use the server's classes only, and keep jobs and results inside the kit.

    Args:
        local: the folder ``local`` of the server's kit.
    """
    (storage,) = class_paths((KitStorage,))

    def change(resources: dict[str, Any]) -> None:
        resources["class_allow_list"] = class_paths(SERVER_CLASSES)
        resources["servers"][0]["admin_timeout"] = _ADMIN_SECONDS
        resources["snapshot_persistor"]["args"]["storage"] = {
            "path": storage,
            "args": {"folder": "storage/snapshots"},
        }
        for component in resources["components"]:
            if component["id"] == "job_manager":
                component["args"]["uri_root"] = "storage/jobs"
            elif component["id"] == "job_store":
                component["path"] = storage

    _derive(local, "resources.json", change)
    _derive(local, "authorization.json", _change_rights)


def restrict_site(local: Path) -> None:
    """Let jobs use the site's classes only, and keep the site's logs, which may name files, at the site.

    The death of a job's process there is the site's own affair: the others go on.

    Args:
        local: the folder ``local`` of the site's kit.
    """
    (launcher,) = class_paths((SiteLauncher,))

    def change(resources: dict[str, Any]) -> None:
        resources["class_allow_list"] = class_paths(SITE_CLASSES)
        resources["allow_log_streaming"] = False
        components = resources["components"]
        resources["components"] = [entry for entry in components if entry["id"] != "site_log_streamer"]
        for component in resources["components"]:
            if component["id"] == "process_launcher":
                component["path"] = launcher

    _derive(local, "resources.json", change)
    _derive(local, "authorization.json", _change_rights)


def _derive(local: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Write ``name`` from NVFlare's default for it, and the default too.

    NVFlare reads the default where there is no such file, and ``nvflare deploy prepare`` starts from it.
    """
    default = local / f"{name}.default"
    content = json.loads(default.read_text())
    change(content)
    for path in (local / name, default):
        path.write_text(json.dumps(content, indent=2) + "\n")


def _change_rights(policy: dict[str, Any]) -> None:
    permissions = policy["permissions"]
    if permissions["project_admin"] == "any":  # would include what is denied, so write it out
        permissions["project_admin"] = dict.fromkeys(permissions["lead"], "any")
    for rights in permissions.values():
        rights.update(dict.fromkeys(_JOB_COMMANDS, rights.get("download_job", "none")))
        rights.update(dict.fromkeys(_DENIED, "none"))
