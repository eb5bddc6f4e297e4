"""`fedswin site check`: all checks, whatever one of them does, and what a script sees of them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fedswin.cli import main
from fedswin.kits.check import full
from fedswin.kits.check.context import Context
from fedswin.kits.check.full import check_kit
from fedswin.kits.check.run import run_checks
from fedswin.kits.kit import read_kit


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    monkeypatch.setattr(sys, "argv", ["fedswin", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().out


def test_a_check_that_fails_is_an_error_and_the_others_go_on(site: Path) -> None:
    def fail(_: Context) -> Any:
        raise RuntimeError("boom")

    (failed, *others) = run_checks([("first", fail), *full.SITE_START], Context(read_kit(site)))
    assert (failed.name, failed.state, "RuntimeError: boom" in failed.found) == ("first", "error", True)
    assert len(others) >= len(full.SITE_START)
    assert {result.state for result in others} == {"ok"}


def test_a_folder_that_is_no_kit(tmp_path: Path, kits: Path) -> None:
    for folder in (tmp_path, tmp_path / "none", kits / "lead@university.org", kits):
        (result,) = check_kit(folder)
        assert (result.name, result.state, "is no kit of a site or a server" in result.found) == ("kit", "error", True)


@pytest.mark.parametrize("role", ["site", "server"])
def test_a_kit_that_can_be_started(
    role: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit: Path = request.getfixturevalue(role)
    code, shown = command(monkeypatch, capsys, "site", "check", str(kit), "--offline", "--json")
    results = json.loads(shown)["results"]
    errors = [result for result in results if result["state"] == "error"]
    assert [result["name"] for result in errors] == (["data"] if role == "site" else [])
    assert code == (role == "site")
    assert [result["name"] for result in results if result["state"] == "not done"] == ["network"]
    assert all(result["fix"] for result in errors)


def test_lines_hold_a_fingerprint_as_it_is(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, shown = command(monkeypatch, capsys, "site", "check", str(site), "--offline")
    (line,) = [line for line in shown.splitlines() if "manifest:" in line]
    assert line.startswith("ok ")
    assert json.loads((site / "manifest.json").read_text())["authority"] in line


def test_checks_run_with_the_kits_environment_and_leave_no_trace(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSWIN_SITE_DATA", raising=False)
    (site / "local" / "environment").write_text("FEDSWIN_SITE_DATA=/no/such/folder\n")
    found = [result.found for result in check_kit(site, offline=True) if result.name == "data"]
    assert found == ["/no/such/folder holds no datalist.json"]
    assert "FEDSWIN_SITE_DATA" not in os.environ


def test_what_stops_several_checks_is_told_once(site: Path) -> None:
    (site / "local" / "site.yaml").write_text("gpu: 1\n")
    states = {result.name: result.state for result in check_kit(site, offline=True) if result.state != "ok"}
    assert states == {"policy": "error", "GPUs": "not done", "data": "not done", "network": "not done"}


def test_a_wrong_environment_file_is_one_error(site: Path) -> None:
    (site / "local" / "environment").write_text("export A=1\n")
    errors = [result.name for result in check_kit(site, offline=True) if result.state == "error"]
    assert errors == ["environment", "data"]
