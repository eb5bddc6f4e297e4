"""What is altered in a kit, who can read its key, where it lies, and what its owner set in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedswin.errors import FedSwinError
from fedswin.kits.check.context import Context
from fedswin.kits.check.permissions import check_key, check_writable
from fedswin.kits.check.policy import check_environment, check_policy
from fedswin.kits.check.result import Result
from fedswin.kits.check.rules import check_rules
from fedswin.kits.check.startup import check_place, check_unaltered
from fedswin.kits.kit import read_kit
from fedswin.kits.manifest import fingerprint


def run(check: Callable[[Context], Iterator[Result]], kit: Path, authority: str | None = None) -> list[Result]:
    return list(check(Context(read_kit(kit), authority)))


def test_a_kit_that_is_as_it_was_made(site: Path, server: Path) -> None:
    for kit in (site, server):
        for check in (check_unaltered, check_place, check_key, check_writable, check_rules, check_environment):
            assert [result.state for result in run(check, kit)] == ["ok"], check


def test_each_altered_file_is_an_error(site: Path) -> None:
    (site / "startup" / "start.sh").write_text("rm -rf /")
    (site / "startup" / "stop_fl.sh").unlink()
    results = run(check_unaltered, site)
    assert [(result.state, result.found) for result in results] == [
        ("error", "startup/start.sh was altered"),
        ("error", "startup/stop_fl.sh is missing"),
    ]


def test_the_authority_is_the_one_that_the_lead_said(site: Path) -> None:
    (told,) = run(check_unaltered, site, fingerprint(site))
    assert (told.state, told.fix) == ("ok", "")
    assert run(check_unaltered, site, "ab" * 32)[0].state == "error"


def test_a_path_that_breaks_the_command_line_of_a_job(site: Path) -> None:
    for name in ("my kit", "kit'1", "kit\\1"):
        broken = site.rename(site.parent / name)
        assert [result.state for result in run(check_place, broken)] == ["error"], name
        broken.rename(site)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read(site: Path, mode: int) -> None:
    key = site / "startup" / "client.key"
    key.chmod(mode)
    (result,) = run(check_key, site)
    assert (result.state, f"chmod 600 {key}" in result.fix) == ("error", True)


def test_a_key_of_somebody_else(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    (result,) = run(check_key, site)
    assert (result.state, "belongs to" in result.found) == ("error", True)


def test_no_key(site: Path) -> None:
    (site / "startup" / "client.key").unlink()
    assert run(check_key, site)[0].state == "error"


def test_a_kit_that_cannot_be_written(site: Path) -> None:
    kit = replace(read_kit(site), folder=Path("/proc/self"))  # where not even root can
    (result,) = check_writable(Context(kit))
    assert (result.state, "/proc/self: cannot write there" in result.found) == ("error", True)


@pytest.mark.parametrize("key", ["class_allow_list", "components", "allow_log_streaming"])
def test_rules_that_were_loosened(site: Path, key: str) -> None:
    path = site / "local" / "resources.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    (result,) = run(check_rules, site)
    assert (result.state, result.found.startswith(f"'{key}' in local/resources.json")) == ("warning", True)


def test_rules_that_cannot_be_read(server: Path) -> None:
    (server / "local" / "resources.json").write_text("{,}")
    with pytest.raises(FedSwinError, match=r"resources\.json is not valid JSON"):
        run(check_rules, server)


def test_the_policy_says_what_it_allows_or_what_is_wrong_with_it(site: Path) -> None:
    (site / "local" / "site.yaml").write_text("jobs: [abdominal_*]\ngpus: 2\n")
    (result,) = run(check_policy, site)
    assert result.found == "jobs named abdominal_* may run, on 2 GPUs at most, and may not bring code"
    (site / "local" / "site.yaml").write_text("gpu: 2\n")
    with pytest.raises(FedSwinError, match=re.escape("site.yaml: unknown key 'gpu' (did you mean 'gpus'?)")):
        run(check_policy, site)


def test_the_environment_is_named_without_its_values(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://another")
    (site / "local" / "environment").write_text("# for the proxy\nhttps_proxy=http://user:secret@proxy\n")
    (result,) = run(check_environment, site)
    assert (result.state, result.found) == ("ok", "local/environment sets https_proxy")
