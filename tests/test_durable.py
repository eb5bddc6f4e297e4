"""Files are whole whenever their writer stops: in an error, on a full disk, at the largest size there may be."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedswin.durable import append_line, written_whole
from full_disk import fill_up

APPEND_AT_A_LIMIT = """
import errno, resource, signal, sys
from pathlib import Path
from fedswin.durable import append_line
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (12, resource.RLIM_INFINITY))
append_line(path, "first")
try:
    append_line(path, "a second one")  # of which six bytes fit
except OSError as error:
    print(errno.errorcode[error.errno], path.read_bytes())
append_line(path, "third")
"""


def test_a_line_for_which_there_is_no_room_leaves_no_trace(tmp_path: Path) -> None:
    """The kernel takes the part that fits and says so, without an error: a full disk does just the same."""
    path, environment = tmp_path / "lines", {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", APPEND_AT_A_LIMIT, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert said == "EFBIG b'first\\n'\n"
    assert path.read_text() == "first\nthird\n"


def refuse_to_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail as NFS does, which takes every write, and tells only at the end that its disk is full."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("fail", [lambda monkeypatch: fill_up(monkeypatch, "lines"), refuse_to_sync])
def test_a_line_that_does_not_get_to_the_disk_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[pytest.MonkeyPatch], None]
) -> None:
    path = tmp_path / "lines"
    append_line(path, "first")
    fail(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        append_line(path, "second")
    assert path.read_text() == "first\n"


def test_a_file_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    for content in (b"old", b"new"):
        with written_whole(path) as file:
            file.write(content)
            assert path.exists() == (content == b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_error_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), written_whole(path) as file:  # noqa: PT012
        file.write(b"ne")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
