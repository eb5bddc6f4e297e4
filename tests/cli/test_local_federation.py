"""What ``fedswin federation`` says; nothing is started here."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from cli.study import Command
from fedswin.operations import local_federation
from fedswin.operations.local_federation import FederationState, choose_sites, create


@pytest.fixture
def made(study: Path) -> Path:
    """A federation that is down."""
    create(study / "fed", choose_sites(study / "the sites"))
    return study / "fed"


def test_what_is_down_says_how_to_start_it(made: Path, fedswin: Command) -> None:
    assert fedswin("federation", "status", "fed") == (0, "fed is down. Start it: fedswin federation up --out fed\n", "")
    assert fedswin("federation", "down", "fed")[0] == 0
    code, out, _ = fedswin("federation", "status", "fed", "--json")
    told = json.loads(out)
    assert (code, told["state"], told["processes"], told["sites"]) == (0, "down", {}, ["a", "b"])
    assert Path(told["kit"]) == made / "kits" / "lead@localhost.org"


def test_up_says_what_to_type_next(made: Path, fedswin: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(local_federation, "up", lambda *arguments, **options: asked.append((arguments, options)))
    code, out, _ = fedswin("federation", "up", "--data", "the sites", "--out", "fed", "--sites", "2", "--port", "9123")
    assert (code, asked) == (0, [((Path("fed"), Path("the sites")), {"count": 2, "port": 9123})])
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0].startswith("fed is up already")
    assert f"export FEDSWIN_KIT={made}/kits/lead@localhost.org" in lines
    assert lines[-1] == "fedswin federation down fed"


def test_a_server_that_does_not_answer_is_told(made: Path, fedswin: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    state = FederationState(made, 1, {"server": psutil.Process()}, ["a", "b"], problem="No connection to [the] server.")
    monkeypatch.setattr(local_federation, "status", lambda folder: state)
    _, out, _ = fedswin("federation", "status", "fed")
    assert out.rstrip().endswith("No connection to [the] server.")
    assert out.count("has ended") == 2
    assert state.as_dict()["state"] == "in part"


@pytest.mark.parametrize("command", ["status", "down"])
def test_a_folder_that_is_no_federation(command: str, fedswin: Command) -> None:
    code, _, error = fedswin("federation", command, "the sites")
    assert code == 1
    assert "the sites is no federation" in error


def test_a_new_one_needs_data(study: Path, fedswin: Command) -> None:
    code, _, error = fedswin("federation", "up", "--out", "new")
    assert code == 1
    assert "new does not exist. Give --data" in error
    assert not (study / "new").exists()
