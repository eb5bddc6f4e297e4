"""A kit's environment file means what a shell makes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fedswin.errors import FedSwinError
from fedswin.kits.environment import applied, read_environment

FILE = """# memory
MALLOC_ARENA_MAX=1

FEDSWIN_SITE_DATA="/data/our ct"
  QUOTED='a b'   # why
EMPTY=
EQUALS=a=b
"""


def test_the_values_are_those_of_a_shell(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text(FILE)
    script = 'set -a; . "$0"; exec env -0'
    shell = subprocess.run(["bash", "-c", script, tmp_path / "environment"], capture_output=True, check=True, env={})
    wanted = dict(line.split("=", 1) for line in shell.stdout.decode().split("\0") if line)
    found = read_environment(tmp_path)
    assert found == {name: wanted[name] for name in found}
    assert set(found) == {"MALLOC_ARENA_MAX", "FEDSWIN_SITE_DATA", "QUOTED", "EMPTY", "EQUALS"}


def test_what_is_set_already_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environment").write_text("FEDSWIN_TEST_A=file\nFEDSWIN_TEST_B=file\n")
    monkeypatch.setenv("FEDSWIN_TEST_A", "process")
    with applied(read_environment(tmp_path)):
        assert (os.environ["FEDSWIN_TEST_A"], os.environ["FEDSWIN_TEST_B"]) == ("process", "file")
    assert "FEDSWIN_TEST_B" not in os.environ


def test_no_file_sets_nothing(tmp_path: Path) -> None:
    assert read_environment(tmp_path) == {}


@pytest.mark.parametrize("line", ["export A=1", "A", "A=b c", "A='b", "1A=b", "A =b"])
def test_a_line_that_is_no_assignment_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "environment").write_text(f"# first\n{line}\n")
    with pytest.raises(FedSwinError, match=r"environment, line 2: expected NAME=value"):
        read_environment(tmp_path)
