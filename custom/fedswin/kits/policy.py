"""What the process of a kit may do: which classes a job may use, what a person may order, what leaves a site."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import SystemComponents

from fedswin.federation.agreed import AgreedOnly
from fedswin.federation.connection_watch import ConnectionWatch
from fedswin.federation.gate import SiteGate
from fedswin.federation.recipe import SERVER_CLASSES, SITE_CLASSES, class_paths
from fedswin.federation.storage import KitStorage
from fedswin.kits.consortium import SUBMITTERS, Kind
from fedswin.kits.launcher import ServerLauncher, SiteLauncher

_DENIED = ("server-predeployed-flwr", "shell_commands")
"""Rights that no role has: to bring another framework's app, and to look at a site's files."""
_CODE = "byoc"
"""The right to send code with a job."""
_WATCH = "connection_watch"

_JOB_COMMANDS = ("app_command", "download_job_components", "get_job_log", "list_job")
"""Commands about a job that NVFlare puts in no category; who may download the job's result has them too."""
_ADMIN_SECONDS = 300.0
"""How long the server waits for sites to take a job's files, which hold the initial weights; 10 s is too short."""
_SCHEDULING = {"max_schedule_count": 4, "min_schedule_interval": 5.0, "max_schedule_interval": 20.0}
"""A job that asks for what the sites have not is given up within a minute; NVFlare would try for 40."""


def restrict(kit: Path, kind: Kind, *, code_in_jobs: bool) -> None:
    """Restrict what jobs and people may do with a kit as it comes from NVFlare; a person's kit takes no orders."""
    if kind == "server":
        restrict_server(kit / "local", code_in_jobs=code_in_jobs)
    elif kind == "site":
        restrict_site(kit / "local", code_in_jobs=code_in_jobs)


def restrict_server(local: Path, *, code_in_jobs: bool) -> None:
    """Let jobs use the server's classes only, and keep jobs and results inside the kit.

    Args:
        local: the folder ``local`` of the server's kit.
        code_in_jobs: whether those who submit jobs may send code with them.
    """
    storage, launcher = class_paths((KitStorage, ServerLauncher))

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
            elif component["id"] == "job_scheduler":
                component["args"] |= _SCHEDULING
            elif component["id"] == "process_launcher":
                component["path"] = launcher

    _derive(local, "resources.json", change)
    _derive(local, "authorization.json", lambda policy: _change_rights(policy, code_in_jobs))


def restrict_site(local: Path, *, code_in_jobs: bool) -> None:
    """Have the site read each job against its own policy, and let leave what was agreed, which logs are not.

    The death of a job's process there is the site's own affair: the others go on.

    Args:
        local: the folder ``local`` of the site's kit.
        code_in_jobs: whether those who submit jobs may send code with them; the site's own policy must say so too.
    """
    launcher, gate, watch = class_paths((SiteLauncher, SiteGate, ConnectionWatch))
    own = {SystemComponents.APP_DEPLOYER: gate, _WATCH: watch}

    def change(resources: dict[str, Any]) -> None:
        resources["class_allow_list"] = class_paths(SITE_CLASSES)
        resources["allow_log_streaming"] = False
        others = ("site_log_streamer", *own)
        resources["components"] = [entry for entry in resources["components"] if entry["id"] not in others]
        resources["components"] += [{"id": name, "path": path, "args": {}} for name, path in own.items()]
        for component in resources["components"]:
            if component["id"] == "process_launcher":
                component["path"] = launcher

    _derive(local, "resources.json", change)
    _derive(local, "authorization.json", lambda policy: _change_rights(policy, code_in_jobs))
    _write(local / "privacy.json", _what_leaves())


def _derive(local: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Write ``name`` from NVFlare's default for it, and the default too; a second time changes nothing.

    NVFlare reads the default where there is no such file, and ``nvflare deploy prepare`` starts from it.
    """
    default = local / f"{name}.default"
    content = json.loads(default.read_text())
    change(content)
    for path in (local / name, default):
        _write(path, content)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def _what_leaves() -> dict[str, Any]:
    """Return NVFlare's privacy policy. It has one scope, so a job cannot choose one without the filter."""
    (agreed,) = class_paths((AgreedOnly,))
    scope = {"name": "agreed", "properties": {}, "task_result_filters": [{"path": agreed, "args": {}}]}
    return {"scopes": [scope], "default_scope": "agreed"}


def _change_rights(policy: dict[str, Any], code_in_jobs: bool) -> None:
    permissions = policy["permissions"]
    if permissions["project_admin"] == "any":  # would include what is denied, so write it out
        permissions["project_admin"] = dict.fromkeys(permissions["lead"], "any")
    for role, rights in permissions.items():
        rights.update(dict.fromkeys(_JOB_COMMANDS, rights.get("download_job", "none")))
        rights.update(dict.fromkeys(_DENIED, "none"))
        rights[_CODE] = "any" if code_in_jobs and role in SUBMITTERS else "none"
