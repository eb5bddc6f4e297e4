"""``fedswin fetch``: how long it waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.study import Command
from fedswin.operations.admin import Federation

FETCH = ["fetch", "id", "--kit", "kit", "--out", "run"]


@pytest.fixture
def running_job(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kit, and a server whose job does not end."""
    (study / "kit" / "startup").mkdir(parents=True)
    about = {"admin": {"username": "me@x.org", "host": "localhost", "port": 1}}
    (study / "kit" / "startup" / "fed_admin.json").write_text(json.dumps(about))

    def enter(federation: Federation) -> Federation:
        return federation

    def leave(*_: Any) -> None: ...

    monkeypatch.setattr(Federation, "__enter__", enter)
    monkeypatch.setattr(Federation, "__exit__", leave)
    monkeypatch.setattr(Federation, "job", lambda *_: {"status": "RUNNING"})


@pytest.mark.usefixtures("running_job")
def test_the_wait_ends_with_the_time_that_is_given(fedswin: Command) -> None:
    code, _, error = fedswin(*FETCH, "--wait", "--timeout", "0.5")
    assert (code, "Job id is running, 0.5 s after the wait for it began" in error) == (1, True), error
    assert not Path("run").exists()


def test_a_time_without_a_wait_is_refused(study: Path, fedswin: Command) -> None:
    assert fedswin(*FETCH, "--timeout", "5") == (
        1,
        "",
        "Error: --timeout says how long to --wait. Add --wait, or leave it out.\n",
    )
