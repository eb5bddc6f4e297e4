"""A site reads a job that comes against its own policy, and refuses it before anything of it runs."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvflare.apis.app_validation import AppValidationKey
from nvflare.apis.fl_constant import JobConstants
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.fuel.utils.config_factory import ConfigFactory
from nvflare.private.fed.utils.app_deployer import AppDeployer
from nvflare.utils.job_launcher_utils import get_resource_manager_spec

from fedswin import __version__
from fedswin.config import load_job
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.federation.site_policy import SitePolicy, load_site_policy

log = logging.getLogger(__name__)


class SiteGate(AppDeployer):
    """Takes a job's files as NVFlare does, and then only if the site's policy allows the job.

    The reason of a refusal goes to the server, so it names nothing of the site.
    """

    def deploy(
        self,
        workspace: Workspace,
        job_id: str,
        job_meta: dict[str, Any],
        app_name: str,
        app_data: bytes,
        fl_ctx: FLContext,
    ) -> str:
        """Unpack a job, and return why it is refused; nothing of a refused one stays."""
        try:
            refusal = super().deploy(workspace, job_id, job_meta, app_name, app_data, fl_ctx) or ""
            refusal = refusal or _judge(workspace, job_id, job_meta)
        except Exception as error:  # NVFlare would send its text, which may name a folder of the site
            log.exception("Job %s cannot be unpacked", job_id)
            refusal = f"it cannot be unpacked at this site ({type(error).__name__})"
        if refusal:
            log.warning("Job %s is refused: %s", job_id, refusal)
            shutil.rmtree(workspace.get_run_dir(job_id), ignore_errors=True)
        return refusal


def _judge(workspace: Workspace, job_id: str, meta: dict[str, Any]) -> str:
    """Return what the site's policy has against a job that has been unpacked."""
    kit, app = Path(workspace.get_root_dir()), Path(workspace.get_app_dir(job_id))
    try:
        policy = load_site_policy(kit)
    except FedSwinError:
        log.exception("This site's policy cannot be read")
        return "this site's policy cannot be read"
    if json.loads(Path(workspace.get_job_meta_path(job_id)).read_text()).get(AppValidationKey.BYOC):
        refusal = (
            "" if policy.code_in_jobs else "it brings code, and this site runs none (code_in_jobs in its site.yaml)"
        )
    else:
        refusal = _judge_classes(Path(workspace.get_resources_file_path()), app)
    return refusal or _judge_gpus(policy, meta, workspace.site_name) or _judge_name(policy, app)


def _judge_classes(resources: Path, app: Path) -> str:
    """NVFlare enforces its list as well, but only once the job's process runs."""
    allowed = json.loads(resources.read_text())["class_allow_list"]
    config = ConfigFactory.load_config(JobConstants.CLIENT_JOB_CONFIG, [str(app / "config")])
    odd = [path for path in _class_paths(config.to_dict()) if path not in allowed]
    return f"it uses the class {odd[0]}, which this site does not allow" if odd else ""


def _judge_gpus(policy: SitePolicy, meta: dict[str, Any], site: str) -> str:
    wanted = get_resource_manager_spec(meta, site).get("num_of_gpus", 0)
    return f"it asks for {wanted} GPUs, and this site gives {policy.gpus} at most" if wanted > policy.gpus else ""


def _judge_name(policy: SitePolicy, app: Path) -> str:
    try:
        job = load_job(app / "config" / messages.JOB_FILE)
    except FedSwinError:
        log.exception("The job's settings cannot be read")
        return f"its settings cannot be read by the fedswin installed here, version {__version__}"
    return "" if policy.allows_job(job.name) else f"this site takes no part in jobs called '{job.name}'"


def _class_paths(config: Any) -> Iterator[str]:
    """Yield the class of every component in a part of a job's configuration."""
    if isinstance(config, dict):
        if isinstance(config.get("path"), str):
            yield config["path"]
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _class_paths(part)
