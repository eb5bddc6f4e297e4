"""What a kit holds for its people: filled in, true to the commands that there are, and silent about other sites."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from nvflare.app_opt.job_launcher.study_runtime import load_study_runtime_file
from nvflare.private.fed.utils.app_authz import AppAuthzService

from fedswin.cli import app
from fedswin.federation.site_policy import SitePolicy, load_site_policy
from fedswin.kits.manifest import check_manifest, fingerprint
from fedswin.kits.policy import restrict_server, restrict_site
from fedswin.kits.provision import provision
from fedswin.settings import parse_section

REPOSITORY = Path(__file__).resolve().parents[2]
PLAN: dict[str, Any] = {
    "study": "abdominal_ct",
    "server": {"host": "fl.example.org", "port": 8123, "organization": "university"},
    "sites": [
        {"name": "north", "organization": "north_clinic", "gpus": 2, "contact": "ada@north-clinic.org"},
        {"name": "south", "organization": "south_clinic", "contact": "ben@south-clinic.org"},
        {"name": "west", "organization": "west_clinic"},
    ],
    "people": [
        {"email": "lead@university.org", "organization": "university", "role": "lead"},
        {"email": "carl@south-clinic.org", "organization": "south_clinic", "role": "org_admin"},
    ],
}
TEXTS = ("README.md", "constraints.txt", "local/environment", "local/site.yaml", "deployment/*")


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site_files")
    (folder / "consortium.yaml").write_text(yaml.safe_dump(PLAN))
    provision(folder / "consortium.yaml", folder / "kits")
    return folder / "kits"


def texts(kit: Path) -> dict[str, str]:
    found = sorted(path for pattern in TEXTS for path in kit.glob(pattern))
    return {path.relative_to(kit).as_posix(): path.read_text() for path in found}


def unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit; it may say one twice, so a list for each."""
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    settings: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        settings.setdefault(key, []).append(value)
    return settings


def test_each_kit_has_its_files_and_no_page_that_says_otherwise(kits: Path) -> None:
    deployment = {"constraints.txt", "Dockerfile", "docker.yaml", "slurm.yaml", "study_runtime.yaml"}
    assert {path.name for path in (kits / "north" / "deployment").iterdir()} == deployment | {"fedswin-north.service"}
    server = {path.name for path in (kits / "server" / "deployment").iterdir()}
    assert server == {"constraints.txt", "fedswin-server.service"}
    for kit in ("server", "north", "south", "lead@university.org", "carl@south-clinic.org"):
        assert (kits / kit / "README.md").is_file()
        assert not (kits / kit / "readme.txt").exists()
        assert not check_manifest(kits / kit)


@pytest.mark.parametrize("kit", ["server", "north", "west", "lead@university.org", "carl@south-clinic.org"])
def test_every_placeholder_is_filled(kits: Path, kit: str) -> None:
    for name, text in texts(kits / kit).items():
        assert "@{" not in text, name
        assert "@{" not in name
        assert "None" not in text, name


def test_a_sites_page_names_the_site_and_whom_it_deals_with(kits: Path) -> None:
    page = (kits / "north" / "README.md").read_text()
    for word in ("north", "north_clinic", "abdominal_ct", "`fl.example.org`, port 8123", "lead@university.org"):
        assert word in page
    assert "ada@north-clinic.org" in page
    assert fingerprint(kits / "north") in page


@pytest.mark.parametrize(("kit", "other"), [("north", "south"), ("south", "north"), ("server", "north")])
def test_a_kit_of_a_site_or_the_server_knows_no_other_site(kits: Path, kit: str, other: str) -> None:
    contact = {"north": "ada@north-clinic.org", "south": "ben@south-clinic.org"}[other]
    for path in (kits / kit).rglob("*"):
        for word in (other, f"{other}_clinic", contact, "carl@south-clinic.org") if path.is_file() else ():
            assert not re.search(rf"\b{re.escape(word)}\b", path.read_text()), (path, word)


def test_the_policy_says_every_key_once_with_a_line_above_and_means_the_defaults(kits: Path) -> None:
    for site, gpus in (("north", 2), ("south", 0)):
        text = (kits / site / "local" / "site.yaml").read_text()
        lines = text.splitlines()
        keys = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
        assert [lines[number].partition(":")[0] for number in keys] == list(yaml.safe_load(text))
        assert set(yaml.safe_load(text)) == set(SitePolicy.model_fields)
        assert all(lines[number - 1].startswith("# ") for number in keys)
        assert parse_section(SitePolicy, yaml.safe_load(text), site) == SitePolicy(gpus=gpus)


def test_the_pages_command_names_the_data(kits: Path, tmp_path: Path) -> None:
    kit = shutil.copytree(kits / "north", tmp_path / "north")
    command = next(line.strip() for line in (kit / "README.md").read_text().splitlines() if "s|^data:" in line)
    subprocess.run(["bash", "-ec", f"DATA=/data/ct; {command}"], cwd=kit, check=True)
    assert load_site_policy(kit) == SitePolicy(data=Path("/data/ct"), gpus=2)


@pytest.mark.parametrize(
    ("kit", "expected"),
    [
        ("north", {"MALLOC_ARENA_MAX": "1", "TMPDIR": "/var/tmp"}),
        ("south", {"MALLOC_ARENA_MAX": "1", "TMPDIR": "/var/tmp", "CUDA_VISIBLE_DEVICES": ""}),
        ("server", {"MALLOC_ARENA_MAX": "4", "TMPDIR": "/var/tmp", "NVFLARE_CLIENT_OUTCOME_WAIT_TIMEOUT": "60"}),
    ],
)
def test_the_environment_is_what_a_shell_and_systemd_read(kits: Path, kit: str, expected: dict[str, str]) -> None:
    path = kits / kit / "local" / "environment"
    script = f"set -a; . {shlex.quote(str(path))}; env"
    shell = subprocess.run(["env", "-i", "bash", "-ec", script], capture_output=True, text=True, check=True).stdout
    found = dict(line.split("=", 1) for line in shell.splitlines())
    assert {name: value for name, value in found.items() if name not in ("PWD", "SHLVL", "_")} == expected
    settings = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert dict(line.split("=", 1) for line in settings) == expected  # systemd: to the end of the line


def test_a_service_runs_site_start_in_its_kit_and_may_write_there_only(kits: Path) -> None:
    for kit, name in (("north", "north"), ("server", "server")):
        service = unit(kits / kit / "deployment" / f"fedswin-{name}.service")
        assert service["ExecStart"] == [f"/opt/fedswin/.venv/bin/fedswin site start /opt/fedswin/{name}"]
        assert service["ReadWritePaths"] == service["WorkingDirectory"] == [f"/opt/fedswin/{name}"]
        assert service["ProtectSystem"] == ["strict"]
        assert service["NoNewPrivileges"] == service["PrivateTmp"] == ["yes"]
        assert service["UMask"] == ["0077"]
        assert service["Restart"] == ["on-failure"]


def test_a_server_below_port_1024_may_listen_there(tmp_path: Path) -> None:
    plan = {**PLAN, "server": {**PLAN["server"], "port": 443}}
    (tmp_path / "consortium.yaml").write_text(yaml.safe_dump(plan))
    provision(tmp_path / "consortium.yaml", tmp_path / "kits")
    service = unit(tmp_path / "kits" / "server" / "deployment" / "fedswin-server.service")
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_services_once_the_pages_command_has_filled_in_the_paths(kits: Path, tmp_path: Path) -> None:
    venv = tmp_path / "somewhere" / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "fedswin").symlink_to("/bin/true")
    for name in ("north", "server"):
        kit = shutil.copytree(kits / name, tmp_path / "moved" / name)
        page = (kit / "README.md").read_text()
        (command,) = re.findall(r"^    (sed -i -e .*\\\n.*)$", page, re.MULTILINE)
        script = f"VIRTUAL_ENV={venv}; DATA=/data/ct; {command}"
        subprocess.run(["bash", "-ec", script], cwd=kit, check=True)
        for recipe in (kit / "deployment").iterdir():
            assert not re.search(r"/opt/fedswin|/srv/ct", recipe.read_text()), recipe
        path = kit / "deployment" / f"fedswin-{name}.service"
        done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("runtime", ["docker", "slurm"])
def test_what_nvflare_prepares_allows_no_more_than_the_kit(kits: Path, tmp_path: Path, runtime: str) -> None:
    kit = shutil.copytree(kits / "north", tmp_path / "north")
    shutil.copy(kit / "deployment" / "study_runtime.yaml", kit / "local")
    command = [str(Path(sys.executable).with_name("nvflare")), "deploy", "prepare", ".", "--config"]
    done = subprocess.run(
        [*command, f"deployment/{runtime}.yaml"], cwd=kit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    prepared = kit / "prepared" / runtime
    assert not (prepared / "local" / "resources.json").exists()  # so NVFlare reads the default
    before = json.loads((kit / "local" / "resources.json").read_text())
    after = json.loads((prepared / "local" / "resources.json.default").read_text())
    for key in ("class_allow_list", "class_list_enforcement_mode", "allow_log_streaming"):
        assert after[key] == before[key]
    assert before["allow_log_streaming"] is False
    components = {component["id"]: component["path"] for component in after["components"]}
    assert set(components) == {"app_deployer", "connection_watch", "resource_manager", f"{runtime}_launcher"}
    assert components["app_deployer"] == "fedswin.federation.gate.SiteGate"
    for name in ("authorization.json", "privacy.json", "site.yaml"):
        assert (prepared / "local" / name).read_bytes() == (kit / "local" / name).read_bytes()
    assert (prepared / "startup" / f"start_{runtime}.sh").is_file()


def test_what_a_job_gets_in_docker(kits: Path) -> None:
    runtime = load_study_runtime_file(str(kits / "north" / "deployment" / "study_runtime.yaml"), launcher_mode="docker")
    assert set(runtime) == {"default"}  # NVFlare's name for the study of a job that names none
    mounts = {mount.mount_path: (mount.source, mount.read_only) for mount in runtime["default"].datasets}
    assert mounts[runtime["default"].env["FEDSWIN_SITE_DATA"]] == ("/srv/ct", True)
    assert mounts[runtime["default"].env["FEDSWIN_STUDIES"]] == ("/opt/fedswin/north/studies", False)
    job = {
        site: yaml.safe_load((kits / site / "deployment" / "docker.yaml").read_text()) for site in ("north", "south")
    }
    kwargs = {site: content["job_launcher"]["default_job_container_kwargs"] for site, content in job.items()}
    assert kwargs["north"]["device_requests"] == [{"Count": 2, "Capabilities": [["gpu"]]}]
    assert "device_requests" not in kwargs["south"]


def test_rules_made_again_from_what_nvflare_starts_from_are_the_same(kits: Path, tmp_path: Path) -> None:
    for kit, restrict in (("north", restrict_site), ("server", restrict_server)):
        rules = {path.name: path for path in (kits / kit / "local").glob("*.json")}
        assert {"resources.json", "authorization.json"} <= set(rules)
        again = shutil.copytree(kits / kit / "local", tmp_path / kit, ignore=shutil.ignore_patterns("*.json"))
        restrict(again, code_in_jobs=False)
        for name, path in rules.items():
            assert (again / name).read_text() == path.read_text()


@pytest.mark.parametrize("runtime", ["docker", "slurm"])
def test_nvflare_takes_a_jobs_own_image_for_code_which_needs_the_right(runtime: str) -> None:
    meta: dict[str, Any] = {"launcher_spec": {"north": {runtime: {"image": "evil:latest"}}}}
    assert AppAuthzService.derive_local_app_info({}, meta, "north") == {"byoc": True}
    assert AppAuthzService.derive_local_app_info({}, {"launcher_spec": {}}, "north") == {}


def options_of(group: Any, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command below ``group``, such as "site check", and its options."""
    for name, command in group.commands.items():
        yield f"{prefix}{name}", {option for parameter in command.params for option in parameter.opts}
        if hasattr(command, "commands"):
            yield from options_of(command, f"{name} ")


def mentioned() -> Iterator[tuple[Path, str]]:
    """Every command of ours in a template or the checklist, up to the end of its line or of the code."""
    templates = REPOSITORY / "custom" / "fedswin" / "kits" / "templates"
    for path in (*templates.rglob("*"), REPOSITORY / "provisioning" / "GO_LIVE.md"):
        for line in re.findall(r"(?<![/\w])fedswin [a-z][^`#\n]*", path.read_text()) if path.is_file() else ():
            yield path, line


def test_every_command_in_the_pages_exists_with_its_options() -> None:
    known = dict(options_of(typer.main.get_command(app)))
    seen = set()
    for path, line in mentioned():
        _, *words = line.split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known, (path, line)
        assert set(re.findall(r"--[a-z-]+", line)) <= known[name], (path, line)
        seen.add(name)
    assert {"site check", "site start", "data check", "provision", "submit", "fetch", "abort"} <= seen
