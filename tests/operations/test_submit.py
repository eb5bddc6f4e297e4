"""Submitting: what is refused before anything is sent, and what is sent."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from nvflare.utils.job_launcher_utils import get_resource_manager_spec

import fedswin
from fedswin.config import Job, parse_job
from fedswin.errors import FedSwinError
from fedswin.federation.recipe import SERVER_CLASSES, SITE_CLASSES, class_paths
from fedswin.kits.provision import provision
from fedswin.operations.admin import Federation
from fedswin.operations.submit import export_for_review, export_job, required_sites, submit
from fedswin.weights.file import load_weights
from fedswin.weights.handover import Handover, initial_state

EXAMPLE = Path(__file__).resolve().parents[2] / "provisioning" / "example.yaml"
LEAD = "lead@university.org"


def job(**federation: Any) -> Job:
    content = {
        "name": "tiny",
        "task": "pretrain",
        "model": {"feature_size": 12},
        "data": {"roi": [32, 32, 32]},
        "federation": {"rounds": 2, "local_steps": 2, **federation},
    }
    return parse_job(content, "test")


@pytest.fixture(scope="module")
def initial() -> Handover:
    return initial_state(job())


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kits of a federation whose server does not run."""
    folder = tmp_path_factory.mktemp("submit")
    content = yaml.safe_load(EXAMPLE.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        content["server"]["port"] = probe.getsockname()[1]
    (folder / "consortium.yaml").write_text(yaml.safe_dump(content))
    provision(folder / "consortium.yaml", folder / "kits")
    return folder / "kits"


@pytest.mark.parametrize("kit", ["hospital_a", "server", "nowhere", "."])
def test_a_folder_that_is_no_kit_of_a_person_is_named(kits: Path, initial: Handover, kit: str) -> None:
    with pytest.raises(FedSwinError, match="is not the kit of a person") as raised:
        submit(job(), initial, kits / kit)
    assert str(kits / kit) in str(raised.value)


def test_a_server_that_does_not_answer_is_named_soon_and_once(kits: Path, capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    port = json.loads((kits / LEAD / "startup" / "fed_admin.json").read_text())["admin"]["port"]
    with pytest.raises(FedSwinError) as raised, Federation(kits / LEAD, login_seconds=1):
        pass
    assert f"No connection to the server at localhost:{port} as {LEAD}" in str(raised.value)
    assert time.monotonic() - started < 20
    assert capfd.readouterr() == ("", "")


def test_sites_that_a_job_needs_must_be_connected() -> None:
    assert required_sites(job(min_sites=2), ["a", "b"]) == ["a", "b"]
    assert required_sites(job(sites=["b"]), ["a", "b"]) == ["b"]
    with pytest.raises(FedSwinError, match="can take part: 1, and federation.min_sites is 2. Connected are: a"):
        required_sites(job(min_sites=2), ["a"])
    with pytest.raises(FedSwinError, match="can take part: 0.*Connected are: none"):
        required_sites(job(), [])
    with pytest.raises(FedSwinError, match=r"The site 'hospitl_b'.* is not connected \(did you mean 'hospital_b'\?\)"):
        required_sites(job(sites=["hospital_a", "hospitl_b"]), ["hospital_a", "hospital_b"])
    with pytest.raises(FedSwinError, match="min_sites is 2"):
        required_sites(job(sites=["a"], min_sites=2), ["a", "b"])


def test_the_job_carries_settings_and_weights_and_no_code(tmp_path: Path, initial: Handover) -> None:
    folder = export_job(job(), ["a", "b"], tmp_path, initial=initial)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "meta.json",
        "app_a/config/config_fed_client.json",
        "app_a/config/job.yaml",
        "app_b/config/config_fed_client.json",
        "app_b/config/job.yaml",
        "app_server/config/config_fed_server.json",
        "app_server/config/initial.pt",
        "app_server/config/job.yaml",
    }
    weights = load_weights(folder / "app_server" / "config" / "initial.pt")
    assert weights.job == job()
    assert all(torch.equal(tensor, initial.tensors[name]) for name, tensor in weights.tensors.items())


def test_a_job_is_exported_whole_or_not_at_all(tmp_path: Path, initial: Handover) -> None:
    out = tmp_path / "exported"
    files = export_for_review(job(), ["a"], initial, out)
    assert files == sorted(path for path in out.rglob("*") if path.is_file())
    assert json.loads((out / "meta.json").read_text())["deploy_map"] == {"app_server": ["server"], "app_a": ["a"]}
    with pytest.raises(FedSwinError, match="exists. Choose another name, or add --overwrite"):
        export_for_review(job(), ["a"], initial, out)
    export_for_review(job(), ["b"], initial, out, overwrite=True)
    assert not (out / "app_a").exists()
    with pytest.raises(FedSwinError, match="No site is named"):
        export_for_review(job(), [], initial, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("config_file", "classes"),
    [
        ("app_server/config/config_fed_server.json", SERVER_CLASSES),
        ("app_a/config/config_fed_client.json", SITE_CLASSES),
    ],
)
def test_every_class_of_the_job_is_on_the_allow_list(
    tmp_path: Path, initial: Handover, config_file: str, classes: tuple[type, ...]
) -> None:
    folder = export_job(job(), ["a", "b"], tmp_path, initial=initial)
    config = json.loads((folder / config_file).read_text())
    assert _paths(config) == set(class_paths(classes))


def _paths(config: Any) -> set[str]:
    """Every class that a configuration names, anywhere in it."""
    if isinstance(config, dict):
        own = {value for key, value in config.items() if key in ("path", "class_path", "name")}
        return own.union(*map(_paths, config.values()))
    return set().union(*map(_paths, config)) if isinstance(config, list) else set()


def test_a_job_that_ships_its_code_brings_this_package_to_the_server_and_the_sites(
    initial: Handover, tmp_path: Path
) -> None:
    folder = export_job(job(), ["a"], tmp_path, initial=initial, code="shipped")
    package = Path(fedswin.__file__).parent
    own = {str(path.relative_to(package)) for path in package.rglob("*") if "__pycache__" not in path.parts}
    for app in ("app_server", "app_a"):
        shipped = folder / app / "custom" / "fedswin"
        assert {str(path.relative_to(shipped)) for path in shipped.rglob("*")} == own
        assert (shipped / "config.py").read_bytes() == (package / "config.py").read_bytes()


def test_a_job_asks_nvflare_for_the_gpus_of_each_site(initial: Handover, tmp_path: Path) -> None:
    meta = json.loads((export_job(job(gpus=2), ["a", "b"], tmp_path, initial=initial) / "meta.json").read_text())
    assert {site: get_resource_manager_spec(meta, site)["num_of_gpus"] for site in "ab"} == {"a": 2, "b": 2}
