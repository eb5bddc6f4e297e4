"""A site's gate, with a job as it is exported, a kit as it is provisioned, and NVFlare's own checks in force."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from nvflare.apis.fl_constant import SiteType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.workspace import Workspace
from nvflare.fuel.sec.authz import AuthorizationService
from nvflare.fuel.utils.zip_utils import zip_directory_to_bytes
from nvflare.private.fed.app.default_app_validator import DefaultAppValidator
from nvflare.private.fed.utils.app_authz import AppAuthzService
from nvflare.private.fed.utils.app_deployer import AppDeployer
from nvflare.security.security import FLAuthorizer

from fedswin.config import load_job
from fedswin.federation import messages
from fedswin.federation.gate import SiteGate
from fedswin.federation.site_policy import SITE_POLICY
from fedswin.kits.provision import provision
from fedswin.operations.submit import export_job

ROOT = Path(__file__).resolve().parents[2]
SITE = "hospital_a"
LEAD = {JobMetaKey.SUBMITTER_NAME: "lead", JobMetaKey.SUBMITTER_ORG: "university", JobMetaKey.SUBMITTER_ROLE: "lead"}
MEMBER = {**LEAD, JobMetaKey.SUBMITTER_ROLE: "member"}
Deploy = Callable[..., str]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's kit of a consortium whose leads may send code."""
    folder = tmp_path_factory.mktemp("gate")
    plan = yaml.safe_load((ROOT / "provisioning" / "example.yaml").read_text())
    (folder / "consortium.yaml").write_text(yaml.safe_dump({**plan, "code_in_jobs": True}))
    provision(folder / "consortium.yaml", folder / "kits")
    return folder / "kits" / SITE


@pytest.fixture
def deploy(kit: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Deploy an app of a job as the site's process does; returns why it is refused."""
    monkeypatch.setattr(AppAuthzService, "app_validator", DefaultAppValidator(SiteType.CLIENT))
    authorizer = FLAuthorizer(SITE, json.loads((kit / "local" / "authorization.json").read_text()))
    monkeypatch.setattr(AuthorizationService, "the_authorizer", authorizer)

    def run(app: Path, policy: str = "", submitter: dict[str, str] = LEAD, **meta: Any) -> str:
        (kit / SITE_POLICY).write_text(policy or "gpus: 0")
        workspace = Workspace(str(kit), SITE)
        refusal = SiteGate().deploy(
            workspace, "7", {**submitter, **meta}, "app", zip_directory_to_bytes(str(app), ""), FLContext()
        )
        assert (kit / "7").exists() == (not refusal)
        return refusal

    return run


@pytest.fixture
def app(tmp_path: Path) -> Path:
    job = load_job(ROOT / "jobs" / "demo" / "pretrain.yaml")
    return export_job(job, [SITE], tmp_path) / f"app_{SITE}"


def change(app: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = app / "config" / "config_fed_client.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_an_exported_job_is_taken(deploy: Deploy, app: Path) -> None:
    assert deploy(app) == ""
    assert deploy(app, "jobs: ['demo_*']") == ""


def test_a_kit_that_nvflare_prepared_for_containers_has_its_default_alone(deploy: Deploy, app: Path, kit: Path) -> None:
    resources = kit / "local" / "resources.json"
    moved = resources.rename(kit / "moved.json")
    try:
        assert deploy(app) == ""
        change(app, lambda config: config["executors"][0].update(executor={"path": "x", "args": {}}))
        assert "it uses the class x" in deploy(app)
    finally:
        moved.rename(resources)


def test_a_job_of_another_name_is_refused(deploy: Deploy, app: Path) -> None:
    assert deploy(app, "jobs: [finetune_*]") == "this site takes no part in jobs called 'demo_pretrain'"


def test_code_needs_the_submitters_right_and_the_sites_consent(deploy: Deploy, app: Path) -> None:
    (app / "custom").mkdir()
    (app / "custom" / "code.py").write_text("")
    assert deploy(app, submitter=MEMBER) == "BYOC not permitted"
    assert "runs none (code_in_jobs" in deploy(app)
    assert deploy(app, "code_in_jobs: true") == ""
    assert deploy(app, "code_in_jobs: true", submitter=MEMBER) == "BYOC not permitted"


def test_a_class_that_is_not_on_the_list_is_refused_wherever_it_stands(deploy: Deploy, app: Path) -> None:
    other = {"path": "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor", "args": {}}
    change(app, lambda config: config["executors"][0].update(executor=other))
    assert deploy(app) == f"it uses the class {other['path']}, which this site does not allow"
    change(app, lambda config: config["executors"][0].update(executor={"path": "x", "args": {"inner": [other]}}))
    assert "it uses the class x" in deploy(app)
    change(app, lambda config: config.update(executors=[], task_result_filters=[{"tasks": ["*"], "filters": [other]}]))
    assert other["path"] in deploy(app)


def test_more_gpus_than_the_site_gives_are_refused(deploy: Deploy, app: Path) -> None:
    spec = {JobMetaKey.RESOURCE_SPEC.value: {SITE: {"num_of_gpus": 2, "mem_per_gpu_in_GiB": 0}}}
    assert deploy(app, "gpus: 1", **spec) == "it asks for 2 GPUs, and this site gives 1 at most"
    assert deploy(app, "gpus: 2", **spec) == ""


@pytest.mark.parametrize("text", [None, "name: x", "name: demo\ntask: pretrain\nnew_setting: 1\n"])
def test_settings_that_this_version_cannot_read_are_refused(deploy: Deploy, app: Path, text: str | None) -> None:
    if text is None:
        (app / "config" / messages.JOB_FILE).unlink()
    else:
        (app / "config" / messages.JOB_FILE).write_text(text)
    assert deploy(app).startswith("its settings cannot be read by the fedswin installed here")


def test_with_a_policy_that_cannot_be_read_nothing_runs_and_its_path_stays_here(
    deploy: Deploy, app: Path, kit: Path
) -> None:
    refusal = deploy(app, "code_in_jobs: perhaps")
    assert refusal == "this site's policy cannot be read"


def test_what_goes_wrong_as_a_job_is_unpacked_names_no_folder_of_the_site(
    deploy: Deploy, app: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> str:
        raise OSError(28, "No space left on device", "/srv/hospital_a/kit/7")

    monkeypatch.setattr(AppDeployer, "deploy", fail)
    assert deploy(app) == "it cannot be unpacked at this site (OSError)"
    assert "/srv/hospital_a/kit/7" in caplog.text
