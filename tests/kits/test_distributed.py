"""Sites that make their own key: what they are handed, and what adopt makes of NVFlare's kit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fedswin.cli import app
from fedswin.errors import FedSwinError
from fedswin.federation.site_policy import load_site_policy
from fedswin.kits.check.context import Context
from fedswin.kits.check.startup import check_unaltered
from fedswin.kits.consortium import read_promises
from fedswin.kits.distributed import adopt
from fedswin.kits.kit import read_kit
from fedswin.kits.manifest import check_manifest, fingerprint
from fedswin.kits.provision import provision

EXAMPLE = Path(__file__).resolve().parents[2] / "provisioning" / "example.yaml"
LEAD = "lead@university.org"


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    provision(with_own_key(folder), folder / "kits")
    return folder / "kits"


def with_own_key(folder: Path) -> Path:
    content = yaml.safe_load(EXAMPLE.read_text())
    content["sites"][1].update(own_key=True, gpus=2)
    (folder / "consortium.yaml").write_text(yaml.safe_dump(content))
    return folder / "consortium.yaml"


def as_nvflare_makes_it(kit: Path, out: Path) -> Path:
    """A copy without what FedSwin adds."""
    shutil.copytree(kit, out)
    policies = (f"local/{name}.json" for name in ("resources", "authorization", "privacy"))
    for name in ("manifest.json", "manifest.sig", *policies):
        (out / name).unlink(missing_ok=True)
    return out


def test_a_site_with_its_own_key_gets_what_nvflare_wants_and_no_kit(kits: Path, tmp_path: Path) -> None:
    made = {path.name for path in (kits / "hospital_b").iterdir()}
    assert made == {"participant.yaml", "README.md", "local", "deployment"}
    assert fingerprint(kits / "hospital_a") in (kits / "hospital_b" / "README.md").read_text()
    assert load_site_policy(kits / "hospital_b").gpus == 2
    assert yaml.safe_load((kits / "hospital_b" / "participant.yaml").read_text()) == {
        "name": "abdominal_ct",
        "participants": [
            {
                "name": "hospital_b",
                "type": "client",
                "org": "hospital_b",
                "capacity": {"num_of_gpus": 2, "mem_per_gpu_in_GiB": 0},
            }
        ],
        "builders": [
            {
                "path": "nvflare.lighter.impl.static_file.StaticFileBuilder",
                "args": {"config_folder": "config", "scheme": "grpc"},
            }
        ],
    }
    assert yaml.safe_load((kits / "authority" / "profile.yaml").read_text()) == {
        "name": "abdominal_ct",
        "scheme": "grpc",
        "connection_security": "mtls",
        "server": {"host": "localhost", "fed_learn_port": 8002},
    }
    assert read_promises(kits / LEAD)["hospital_b"] == 2
    with pytest.raises(FedSwinError, match="--renew hospital_b: no kit that was made here"):
        provision(with_own_key(tmp_path), kits, renew=["hospital_b"])


@pytest.mark.parametrize("name", ["server", "hospital_a", LEAD])
def test_an_adopted_kit_is_as_provision_makes_it(kits: Path, tmp_path: Path, name: str) -> None:
    kit = as_nvflare_makes_it(kits / name, tmp_path / "kit")
    result = CliRunner().invoke(app, ["adopt", str(kit)])
    assert result.exit_code == 0, result.output
    assert fingerprint(kits / name) in result.stdout
    made = {path.relative_to(kit): path.read_bytes() for path in (kit / "local").rglob("*") if path.is_file()}
    expected = kits / name
    assert made == {
        path.relative_to(expected): path.read_bytes() for path in (expected / "local").rglob("*") if path.is_file()
    }
    assert check_manifest(kit, fingerprint(kits / name)) == []


def test_an_adopted_kit_lets_code_in_only_if_it_is_told(kits: Path, tmp_path: Path) -> None:
    allowed = []
    for arguments in ([], ["--code-in-jobs"]):
        kit = as_nvflare_makes_it(kits / "hospital_a", tmp_path / f"kit{len(arguments)}")
        CliRunner().invoke(app, ["adopt", str(kit), *arguments])
        permissions = json.loads((kit / "local" / "authorization.json").read_text())["permissions"]
        allowed.append(permissions["lead"]["byoc"])
    assert allowed == ["none", "any"]


def test_a_kit_that_its_own_key_has_signed_is_told_of_since_whoever_sent_it_may_have_signed_it(
    kits: Path, tmp_path: Path
) -> None:
    kit = as_nvflare_makes_it(kits / "hospital_a", tmp_path / "kit")
    (kit / "startup" / "start.sh").write_text("true")
    adopt(kit)
    states = [result.state for result in check_unaltered(Context(read_kit(kit), fingerprint(kits / "server")))]
    assert states == ["ok", "warning"]


def test_a_change_after_the_adoption_is_seen(kits: Path, tmp_path: Path) -> None:
    kit = as_nvflare_makes_it(kits / "hospital_a", tmp_path / "kit")
    adopt(kit)
    (kit / "startup" / "start.sh").write_text("true")
    assert [fault.problem for fault in check_manifest(kit)] == ["startup/start.sh was altered"]
    shutil.copy(kits / LEAD / "startup" / "client.crt", kit / "startup")  # of the same authority, but not of this key
    assert "manifest.json was not signed by this participant" in [fault.problem for fault in check_manifest(kit)]


def test_what_has_a_manifest_or_is_no_kit_is_refused(kits: Path, tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="has a manifest, so there is nothing to do"):
        adopt(kits / "hospital_a")
    with pytest.raises(FedSwinError, match="is no kit"):
        adopt(tmp_path)
    kit = as_nvflare_makes_it(kits / "hospital_a", tmp_path / "kit")
    (kit / "startup" / "client.key").unlink()
    with pytest.raises(FedSwinError, match="client.key: cannot read the private key"):
        adopt(kit)
    assert not (kit / "local" / "resources.json").exists()
