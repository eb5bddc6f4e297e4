"""No key comes into the repository: none is there, and git leaves out what the documented commands make."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from nvflare.lighter.utils import generate_keys, serialize_pri_key

from fedswin.kits.provision import provision

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "provisioning/README.md", "provisioning/distributed.md")
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}")


def git(*arguments: str, text: str | None = None) -> list[str]:
    result = subprocess.run(["git", "-C", str(ROOT), *arguments], input=text, capture_output=True, text=True)
    if result.returncode == 128:
        pytest.skip("this is no git checkout")
    return [line for line in result.stdout.split("\0") if line]


def test_the_repository_holds_no_key() -> None:
    tracked = [ROOT / name for name in git("ls-files", "-z")]
    assert len(tracked) > 100
    assert not [path for path in tracked if path.suffix in (".key", ".pem", ".crt", ".csr", ".pfx")]
    assert not [path for path in tracked if path.is_file() and _KEY.search(path.read_bytes())]


def test_a_key_would_be_found() -> None:
    assert _KEY.search(serialize_pri_key(generate_keys()[0]))


def test_git_leaves_out_the_kits_of_the_documented_commands(tmp_path: Path) -> None:
    pages = "".join((ROOT / page).read_text() for page in PAGES)
    named = set(re.findall(r"fedswin provision \S+ --out (\S+)", pages))
    assert named
    provision(ROOT / "provisioning" / "example.yaml", tmp_path / "kits")
    files = [path.relative_to(tmp_path / "kits") for path in (tmp_path / "kits").rglob("*") if path.is_file()]
    for out in named:
        paths = [f"{out}/{file}" for file in files]
        assert set(git("check-ignore", "-z", "--stdin", text="\0".join(paths))) == set(paths)


@pytest.mark.parametrize(
    "path",
    [
        "elsewhere/hospital_a/startup/client.key",  # kits in a folder with another name
        "elsewhere/authority/rootCA.key",
        "hospital_c/hospital_c.key",  # nvflare cert request
        "hospital_c/hospital_c.request.zip",
        "hospital_c.signed.zip",
        "workspace/abdominal_ct/prod_00/hospital_c/startup/fed_client.json",  # nvflare package
    ],
)
def test_git_leaves_out_keys_wherever_they_are(path: str) -> None:
    assert git("check-ignore", "-z", "--stdin", text=path) == [path]
