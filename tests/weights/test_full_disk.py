"""A weights file on a full disk: the old one stays, and the error says that the disk is full."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from fedswin.weights.file import save_whole
from full_disk import fill_up

SAVE_AT_A_LIMIT = """
import errno, resource, signal, sys
from pathlib import Path
import torch
from fedswin.weights.file import save_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for room in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        save_whole(Path(sys.argv[1]), {"w": torch.zeros(100_000)})
    except OSError as error:
        print(errno.errorcode[error.errno], end=" ")
"""


def saved(path: Path) -> Path:
    save_whole(path, {"w": torch.ones(3)})
    return path


def is_as_saved(path: Path) -> bool:
    return list(path.parent.iterdir()) == [path] and torch.load(path)["w"].tolist() == [1, 1, 1]


def test_with_no_room_for_all_of_it_the_old_file_stays(tmp_path: Path) -> None:
    """The file would have 401 kB: there is room for a part of its head, of the tensor, and of the table at its end."""
    path, environment = saved(tmp_path / "model.pt"), {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SAVE_AT_A_LIMIT, str(path), "100", "250000", "400500"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert said.split() == ["EFBIG"] * 3
    assert is_as_saved(path)


def test_a_disk_that_fills_up_half_way_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "model.pt")
    fill_up(monkeypatch, "model.pt.partial")
    with pytest.raises(OSError, match="No space left") as raised:
        save_whole(path, {"w": torch.zeros(3)})
    monkeypatch.undo()
    assert raised.value.errno == errno.ENOSPC
    assert is_as_saved(path)


def test_what_cannot_be_saved_for_another_reason_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt")
    with pytest.raises(TypeError, match="cannot pickle"):
        save_whole(path, {"lock": threading.Lock()})
    assert is_as_saved(path)
