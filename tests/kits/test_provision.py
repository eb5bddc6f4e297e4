"""Kits: from the consortium's file to what NVFlare reads in them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from nvflare.fuel.sec.authz import AuthzContext, Person, parse_policy_config
from nvflare.private.fed.server.fed_server import _is_loopback_host
from nvflare.security.security import COMMAND_CATEGORIES

from fedswin.errors import FedSwinError
from fedswin.federation.storage import KitStorage
from fedswin.kits import make as module
from fedswin.kits.consortium import load_consortium
from fedswin.kits.provision import provision

EXAMPLE = Path(__file__).resolve().parents[2] / "provisioning" / "example.yaml"
SITES = ("hospital_a", "hospital_b")
PEOPLE = ("lead@university.org", "engineer@hospital-a.org")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("provision") / "kits"
    before = os.umask(0)  # of the most careless shell
    try:
        provision(EXAMPLE, out)
    finally:
        os.umask(before)
    return out


def consortium(folder: Path, change: Change) -> Path:
    content = yaml.safe_load(EXAMPLE.read_text())
    change(content)
    path = folder / "consortium.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_participant_gets_a_kit_and_the_terminal_stays_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = list(provision(EXAMPLE, tmp_path / "kits").made)
    assert [kit.name for kit in made] == ["server", *SITES, *PEOPLE]
    assert {path.name for path in (tmp_path / "kits").iterdir()} == {"authority", "server", *SITES, *PEOPLE}
    assert all((kit / "startup" / "rootCA.pem").is_file() for kit in made)
    assert all((kit / "startup" / "sub_start.sh").stat().st_mode & stat.S_IXUSR for kit in made[:3])
    assert [path.name for path in tmp_path.iterdir()] == ["kits"]
    assert capfd.readouterr() == ("", "")


def test_private_keys_are_their_owners_alone(kits: Path) -> None:
    holding = [path for path in kits.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert sorted(path.name for path in holding) == ["client.key"] * 4 + ["rootCA.key", "server.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (kits, kits / "authority")} == {0o700}


def test_each_kit_has_the_certificate_of_its_participant_from_the_same_authority(kits: Path) -> None:
    root = x509.load_pem_x509_certificate((kits / "server" / "startup" / "rootCA.pem").read_bytes())
    for name in (*SITES, *PEOPLE):
        certificate = x509.load_pem_x509_certificate((kits / name / "startup" / "client.crt").read_bytes())
        certificate.verify_directly_issued_by(root)
        assert name in certificate.subject.rfc4514_string()


def test_allow_lists_hold_single_classes_of_ours_and_no_command_of_the_jobs(kits: Path) -> None:
    for site in SITES:
        resources = read(kits / site / "local" / "resources.json")
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert resources["class_allow_list"] == [
            "fedswin.federation.executor.SiteExecutor",
            "nvflare.app_common.widgets.convert_to_fed_event.ConvertToFedEvent",
        ]
        launchers = [entry["path"] for entry in resources["components"] if entry["id"] == "process_launcher"]
        assert launchers == ["fedswin.kits.launcher.SiteLauncher"]
    assert read(kits / "server" / "local" / "resources.json")["class_allow_list"] == [
        "fedswin.federation.controller.FederatedAveraging",
        "fedswin.federation.curves.StudyCurves",
    ]


@pytest.mark.parametrize("kit", ["server", *SITES])
def test_rights_as_nvflare_evaluates_them(kits: Path, kit: str) -> None:
    policy, problem = parse_policy_config(read(kits / kit / "local" / "authorization.json"), COMMAND_CATEGORIES)
    assert not problem

    def may(role: str, right: str, submitter: str = "me@x.org") -> bool:
        me, other = Person("me@x.org", "org", role), Person(submitter, "org", "lead")
        return policy.evaluate("org", AuthzContext(right, me, other))[0]

    for role in ("lead", "member", "org_admin", "project_admin"):
        assert not any(may(role, right) for right in ("byoc", "cat", "grep", "ls", "server-predeployed-flwr"))
        assert may(role, "check_status")
    assert may("lead", "submit_job")
    assert not may("member", "submit_job")
    assert may("lead", "get_job_log")
    assert not may("lead", "download_job", "somebody@x.org")
    assert may("project_admin", "download_job", "somebody@x.org")
    assert may("project_admin", "shutdown")


def test_a_sites_logs_stay_at_the_site(kits: Path) -> None:
    for site in SITES:
        resources = read(kits / site / "local" / "resources.json")
        assert resources["allow_log_streaming"] is False
        assert "site_log_streamer" not in [component["id"] for component in resources["components"]]


def test_the_server_stores_jobs_in_its_kit_wherever_that_is(
    kits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (kits / "server" / "local" / "resources.json").read_text()
    assert "/tmp" not in text
    assert str(kits) not in text
    resources = json.loads(text)
    components = {component["id"]: component for component in resources["components"]}
    monkeypatch.chdir(tmp_path)  # as the server does, to its kit
    uri = f"{components['job_manager']['args']['uri_root']}/job"
    store = KitStorage(**components["job_store"].get("args", {}))
    store.create_object(uri, b"data", {"status": "SUBMITTED"})
    assert (tmp_path / "storage" / "jobs" / "job" / "data").read_bytes() == b"data"
    assert store.list_objects("storage/jobs") == [uri]
    snapshots = resources["snapshot_persistor"]["args"]["storage"]
    assert KitStorage(**snapshots["args"]).root_dir == str((tmp_path / "storage" / "snapshots").resolve())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.1.1"])
def test_a_loopback_host_makes_the_server_listen_on_loopback_only(tmp_path: Path, host: str) -> None:
    provision(consortium(tmp_path, lambda content: content["server"].update(host=host)), tmp_path / "kits")
    (server,) = read(tmp_path / "kits" / "server" / "startup" / "fed_server.json")["servers"]
    assert _is_loopback_host(server["service"]["target"].split(":")[0])


def test_a_real_host_is_the_servers_name_and_where_all_others_connect(tmp_path: Path) -> None:
    server = {"host": "fl.example.org", "port": 9123, "organization": "university"}
    provision(consortium(tmp_path, lambda content: content.update(server=server)), tmp_path / "kits")
    site = read(tmp_path / "kits" / "hospital_a" / "startup" / "fed_client.json")["servers"][0]
    person = read(tmp_path / "kits" / PEOPLE[0] / "startup" / "fed_admin.json")["admin"]
    assert site["service"] == {"target": "fl.example.org:9123", "scheme": "grpc"}
    assert (person["host"], person["port"], person["server_identity"]) == ("fl.example.org", 9123, "fl.example.org")


def test_gpus_of_a_site(tmp_path: Path) -> None:
    provision(consortium(tmp_path, lambda content: content["sites"][1].update(gpus=2)), tmp_path / "kits")
    offered = {}
    for site in SITES:
        components = read(tmp_path / "kits" / site / "local" / "resources.json")["components"]
        (manager,) = [component for component in components if component["id"] == "resource_manager"]
        offered[site] = manager["args"]["num_of_gpus"]
    assert offered == {"hospital_a": 0, "hospital_b": 2}


WRONG: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda c: c.update(sties=[]), "unknown key 'sties' (did you mean 'sites'?)"),
    "unknown key in a list": (lambda c: c["sites"][1].update(nmae="x"), "'sites.1.nmae' (did you mean 'name'?)"),
    "the same site twice": (lambda c: c["sites"].append(c["sites"][0]), "'hospital_a' is used twice"),
    "the same person twice": (lambda c: c["people"].append(c["people"][0]), "'lead@university.org' is used twice"),
    "a site called server": (lambda c: c["sites"][0].update(name="Server"), "'Server' is used twice, or is one of"),
    "a site called global": (lambda c: c["sites"][0].update(name="Global"), "'Global' is used twice, or is one of"),
    "a site called authority": (lambda c: c["sites"][0].update(name="authority"), "'authority' is used twice, or is"),
    "a site called as the host": (lambda c: c["sites"][0].update(name="localhost"), "'localhost' is used twice, or"),
    "a path as a name": (lambda c: c["sites"][0].update(name="../x"), "sites.0.name: '../x' must be letters"),
    "role": (lambda c: c["people"][0].update(role="boss"), "people.0.role: Input should be 'lead', 'member'"),
    "nobody submits": (lambda c: c["people"].pop(0), "people: nobody could submit a job"),
    "port": (lambda c: c["server"].update(port=70000), "server.port: Input should be less than or equal to 65535"),
    "port in host": (lambda c: c["server"].update(host="x.org:80"), "server.host: 'x.org:80' must be a host name"),
    "e-mail": (lambda c: c["people"][0].update(email="me"), "people.0.email: 'me' must be an e-mail address"),
    "no site": (lambda c: c.update(sites=[]), "sites: List should have at least 1 item"),
    "no server": (lambda c: c.pop("server"), "server: Field required"),
    "organization": (
        lambda c: c["server"].update(organization="St. M"),
        "server.organization: 'St. M' must be letters",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_what_and_where(tmp_path: Path, change: Change, message: str) -> None:
    path = consortium(tmp_path, change)
    with pytest.raises(FedSwinError) as raised:
        provision(path, tmp_path / "kits")
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["consortium.yaml"]


@pytest.mark.parametrize("content", ["- a", "a: [", None])
def test_what_is_no_consortium_file_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "consortium.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FedSwinError, match=r"consortium\.yaml"):
        load_consortium(path)


def test_what_exists_is_replaced_only_when_asked_and_only_if_it_is_kits(tmp_path: Path) -> None:
    out = tmp_path / "kits"
    out.mkdir()
    (out / "thesis.txt").touch()
    with pytest.raises(FedSwinError, match="exists"):
        provision(EXAMPLE, out)
    with pytest.raises(FedSwinError, match="something other than a folder of kits"):
        provision(EXAMPLE, out, overwrite=True)
    assert (out / "thesis.txt").exists()

    kits = tmp_path / "more" / "kits"
    provision(EXAMPLE, kits)
    first = (kits / "server" / "startup" / "rootCA.pem").read_bytes()
    provision(EXAMPLE, kits, overwrite=True)
    assert (kits / "server" / "startup" / "rootCA.pem").read_bytes() != first
    assert [path.name for path in kits.parent.iterdir()] == ["kits"]


def test_a_failure_midway_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    out = tmp_path / "kits"
    provision(EXAMPLE, out)
    before = (out / "authority" / "rootCA.key").read_bytes()
    monkeypatch.setattr(module, "restrict", fail)
    with pytest.raises(OSError, match="no space"):
        provision(EXAMPLE, out, overwrite=True)
    with pytest.raises(OSError, match="no space"):
        provision(EXAMPLE, tmp_path / "others")
    assert (out / "authority" / "rootCA.key").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["kits"]


def test_nvflares_own_failure_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the dog ate the certificate")

    monkeypatch.setattr(module.CertBuilder, "build", fail)
    with pytest.raises(FedSwinError, match="the dog ate the certificate"):
        provision(EXAMPLE, tmp_path / "kits")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
