"""A consortium grows: new kits are added and old ones renewed, while all others stay as they are, byte for byte."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from typer.testing import CliRunner

from fedswin.cli import app
from fedswin.errors import FedSwinError
from fedswin.kits import authority as authority_module
from fedswin.kits.consortium import load_consortium, read_promises
from fedswin.kits.manifest import check_manifest, fingerprint
from fedswin.kits.provision import provision

EXAMPLE = Path(__file__).resolve().parents[2] / "provisioning" / "example.yaml"
NEW = ("hospital_c", "new@university.org")
LEAD = "lead@university.org"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def kits(kits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kits, tmp_path / "kits"))


def changed(folder: Path, change: Change) -> Path:
    content = yaml.safe_load(EXAMPLE.read_text())
    change(content)
    path = folder / "consortium.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def grown(folder: Path) -> Path:
    def change(content: dict[str, Any]) -> None:
        content["sites"].append({"name": NEW[0], "organization": "hospital_c", "gpus": 2})
        content["people"].append({"email": NEW[1], "organization": "university", "role": "member"})

    return changed(folder, change)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_consortium(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.endswith("consortium.yaml")}


def certificate(kit: Path) -> x509.Certificate:
    (path,) = (kit / "startup").glob("*.crt")
    return x509.load_pem_x509_certificate(path.read_bytes())


def days(kit: Path) -> float:
    return (certificate(kit).not_valid_after_utc - datetime.now(timezone.utc)) / timedelta(days=1)


def test_new_kits_come_from_the_same_authority_and_the_others_stay(kits: Path, tmp_path: Path) -> None:
    (kits / "hospital_a" / "log.txt").write_text("of a site that runs")
    before = contents(kits)
    done = provision(grown(tmp_path), kits)
    after = contents(kits)
    assert list(done.made) == [kits / name for name in NEW]
    assert done.kept == 5
    new = {name for name in after if name.split("/")[0] in NEW}
    assert without_consortium({name: after[name] for name in set(after) - new}) == without_consortium(before)
    root = x509.load_pem_x509_certificate(before["authority/rootCA.pem"])
    for name in NEW:
        certificate(kits / name).verify_directly_issued_by(root)
        assert check_manifest(kits / name, fingerprint(kits / "server")) == []
    assert (kits / NEW[0] / "local" / "resources.json").is_file()
    assert sorted(path.name for path in kits.iterdir() if path.name.startswith(".")) == []


def test_people_know_what_sites_promise_and_learn_it_when_the_consortium_grows(kits: Path, tmp_path: Path) -> None:
    assert read_promises(kits / LEAD) == {"hospital_a": 0, "hospital_b": 0}
    assert read_promises(kits / "hospital_a") == {}
    shutil.move(kits / "engineer@hospital-a.org", tmp_path / "handed over")
    provision(grown(tmp_path), kits)
    assert read_promises(kits / LEAD) == read_promises(kits / NEW[1]) == {"hospital_a": 0, "hospital_b": 0, NEW[0]: 2}
    assert not (kits / "engineer@hospital-a.org").exists()
    assert check_manifest(kits / LEAD) == []
    (kits / LEAD / "local" / "consortium.yaml").write_text("sites: []")
    with pytest.raises(FedSwinError, match="consortium.yaml"):
        read_promises(kits / LEAD)


def test_the_same_again_changes_nothing(kits: Path) -> None:
    before = contents(kits)
    assert provision(EXAMPLE, kits).made == {}
    assert contents(kits) == before


def test_a_renewed_kit_has_a_new_key_and_keeps_what_is_its_owners(kits: Path) -> None:
    (kits / "hospital_a" / "local" / "site.yaml").write_text("data: /data/ct\n")
    (kits / "hospital_a" / "studies").mkdir()
    before = contents(kits)
    (kits / "hospital_a" / "startup" / "of_an_older_nvflare.sh").touch()
    done = provision(EXAMPLE, kits, renew=["hospital_a"])
    after = contents(kits)
    assert list(done.made) == [kits / "hospital_a"]
    differ = {name for name in before if before[name] != after.get(name)}
    assert differ == {
        *(f"hospital_a/startup/client.{kind}" for kind in ("crt", "key")),
        *(f"hospital_a/manifest.{kind}" for kind in ("json", "sig")),
    }
    assert set(after) == set(before)
    assert (kits / "hospital_a" / "studies").is_dir()
    assert check_manifest(kits / "hospital_a", fingerprint(kits / "server")) == []


def test_all_kits_are_renewed_by_a_pattern_and_one_that_was_handed_over_comes_whole(kits: Path, tmp_path: Path) -> None:
    shutil.move(kits / "hospital_b", tmp_path / "handed over")
    old = certificate(tmp_path / "handed over")
    assert len(provision(EXAMPLE, kits, renew=["*"]).made) == 5
    assert certificate(kits / "hospital_b").public_key() != old.public_key()
    assert (kits / "hospital_b" / "local" / "resources.json").is_file()
    assert all(check_manifest(kit) == [] for kit in kits.iterdir() if kit.name != "authority")
    assert read_promises(kits / LEAD) == {"hospital_a": 0, "hospital_b": 0}


def test_certificates_are_as_long_as_the_consortium_says(kits: Path, tmp_path: Path) -> None:
    assert days(kits / "hospital_a") == pytest.approx(730, abs=0.1)
    assert certificate(kits / "hospital_a").not_valid_before_utc < datetime.now(timezone.utc) - timedelta(hours=23)
    path = changed(tmp_path, lambda content: content.update(certificate_days=30))
    done = provision(path, kits, renew=["hospital_b", "server"])
    assert [days(kits / name) for name in ("hospital_b", "server")] == pytest.approx([30, 30], abs=0.1)
    assert days(kits / "hospital_a") == pytest.approx(730, abs=0.1)
    assert done.made[kits / "server"] == certificate(kits / "server").not_valid_after_utc
    assert not done.cut_short
    root = x509.load_pem_x509_certificate((kits / "authority" / "rootCA.pem").read_bytes())
    assert done.authority_ends == root.not_valid_after_utc
    assert done.authority_ends - datetime.now(timezone.utc) > timedelta(days=3649)


def test_no_certificate_outlives_its_authority_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority_module, "AUTHORITY_DAYS", 10)
    result = CliRunner().invoke(app, ["provision", str(EXAMPLE), "--out", str(tmp_path / "kits")])
    assert result.exit_code == 0, result.output
    assert days(tmp_path / "kits" / "hospital_a") == pytest.approx(10, abs=0.1)
    assert "The authority ends earlier" in result.stderr
    root = x509.load_pem_x509_certificate((tmp_path / "kits" / "authority" / "rootCA.pem").read_bytes())
    assert f"hospital_a: valid until {root.not_valid_after_utc:%Y-%m-%d}\n" in result.stdout


def test_a_fingerprint_is_printed_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_module, "cert_fingerprint_sha256", lambda certificate: "SHA256:AB:CD:AB")
    result = CliRunner().invoke(app, ["provision", str(EXAMPLE), "--out", str(tmp_path / "kits")])
    assert "fingerprint: SHA256:AB:CD:AB\n" in result.stdout


def test_an_authority_that_has_ended_signs_nothing(kits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(kits / "authority")
    monkeypatch.setattr(authority_module, "AUTHORITY_DAYS", -0.5)
    authority_module.create_authority(kits / "authority", "abdominal_ct")
    shutil.copy(EXAMPLE, kits / "authority" / "consortium.yaml")
    with pytest.raises(FedSwinError, match="the authority ended on .* --overwrite"):
        provision(grown(tmp_path), kits)


REFUSED: dict[str, tuple[Change, list[str]]] = {
    "site gone": (lambda c: c["sites"].pop(1), ["hospital_b is gone", "Somebody leaves"]),
    "person gone": (lambda c: c["people"].pop(1), ["engineer@hospital-a.org is gone"]),
    "organization": (
        lambda c: c["sites"][0].update(organization="other"),
        ["hospital_a: it was a site of hospital_a and is a site of other", "--renew hospital_a"],
    ),
    "role": (
        lambda c: c["people"][1].update(role="member"),
        ["it was org_admin of hospital_a and is member of hospital_a"],
    ),
    "host": (
        lambda c: c["server"].update(host="fl.example.org"),
        ["server: it was localhost:8002 of university and is fl.example.org:8002", "--overwrite"],
    ),
    "port": (lambda c: c["server"].update(port=9000), ["and is localhost:9000 of university"]),
    "study": (lambda c: c.update(study="heart"), ["it was 'abdominal_ct' and is 'heart'", "another --out"]),
    "code": (lambda c: c.update(code_in_jobs=True), ["code_in_jobs: every kit says who may send code"]),
    "two things": (
        lambda c: (c["sites"].pop(1), c["server"].update(port=9000)),
        ["hospital_b is gone", "localhost:9000"],
    ),
}


@pytest.mark.parametrize(("change", "messages"), REFUSED.values(), ids=REFUSED)
def test_what_kits_say_cannot_change_without_them(
    kits: Path, tmp_path: Path, change: Change, messages: list[str]
) -> None:
    before = contents(kits)
    with pytest.raises(FedSwinError) as raised:
        provision(changed(tmp_path, change), kits)
    assert all(message in str(raised.value) for message in messages)
    assert contents(kits) == before


def test_a_new_role_needs_a_new_certificate(kits: Path, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda content: content["people"][1].update(role="member"))
    provision(path, kits, renew=["engineer@*"])
    assert "member" in certificate(kits / "engineer@hospital-a.org").subject.rfc4514_string()


def test_renew_names_a_kit(kits: Path, tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match=r"--renew hospital_x: no kit .* \(did you mean 'hospital_"):
        provision(EXAMPLE, kits, renew=["hospital_x"])
    with pytest.raises(FedSwinError, match="--renew is for kits that stay"):
        provision(EXAMPLE, tmp_path / "others", renew=["*"])
    with pytest.raises(FedSwinError, match="--renew is for kits that stay"):
        provision(EXAMPLE, kits, renew=["*"], overwrite=True)


def test_what_is_in_the_way_of_a_new_kit_stays(kits: Path, tmp_path: Path) -> None:
    (kits / NEW[0]).mkdir()
    before = contents(kits)
    with pytest.raises(FedSwinError, match="hospital_c is in the way"):
        provision(grown(tmp_path), kits)
    assert contents(kits) == before


def test_kits_of_an_older_fedswin_are_told_apart(kits: Path) -> None:
    (kits / "authority" / "consortium.yaml").unlink()
    with pytest.raises(FedSwinError, match="older FedSwin"):
        provision(EXAMPLE, kits)


def test_without_the_authoritys_key_nothing_is_made(kits: Path, tmp_path: Path) -> None:
    (kits / "authority" / "rootCA.key").unlink()
    before = contents(kits)
    with pytest.raises(FedSwinError, match="cannot read the authority"):
        provision(grown(tmp_path), kits)
    assert contents(kits) == before


def killed_at(moment: int, path: Path, kits: Path) -> bool:
    """Provision in a process that is gone at the n-th move to or from what is complete; whether it came so far."""
    if (process := os.fork()) == 0:
        left = moment

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event == "os.rename" and any(".complete" in str(argument) for argument in arguments):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(watch)
        provision(path, kits, renew=["hospital_a"])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9


MOVES = 10
"""The one that decides; 2 new kits, 3 parts of a renewed one, 2 files of the authority and 2 of people."""


@pytest.mark.parametrize("moment", range(MOVES))
def test_killed_at_any_moment_it_is_as_it_was_or_the_next_call_completes_it(
    kits: Path, tmp_path: Path, moment: int
) -> None:
    path, before = grown(tmp_path), contents(kits)
    assert killed_at(moment, path, kits)
    if moment == 0:
        assert {name: file for name, file in contents(kits).items() if not name.startswith(".partial")} == before
    provision(path, kits)
    assert {*load_consortium(path).kits, "authority"} == {kit.name for kit in kits.iterdir()}
    expected = fingerprint(kits / "server")
    assert [check_manifest(kits / name, expected) for name in load_consortium(path).kits] == [[]] * 7
    assert (contents(kits)["hospital_a/startup/client.key"] != before["hospital_a/startup/client.key"]) == (moment > 0)
    assert read_promises(kits / LEAD)[NEW[0]] == 2


def test_the_moves_are_as_many_as_are_tested(kits: Path, tmp_path: Path) -> None:
    assert not killed_at(MOVES, grown(tmp_path), kits)
