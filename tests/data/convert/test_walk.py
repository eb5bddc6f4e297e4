"""The files of an archive: every one once, nothing hidden, no circle, no wait."""

from __future__ import annotations

import os

import pytest

from fedswin.data.convert.walk import walk


def test_every_file_is_found_once_in_the_order_of_names(tmp_path):
    for name in ("b/2", "b/1", "a/c/x", "top"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files, left_out = walk(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == ["top", "a/c/x", "b/1", "b/2"]
    assert left_out == []


def test_what_is_hidden_is_passed_over(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").touch()
    (tmp_path / "._scan.nii").touch()
    assert walk(tmp_path) == ([], [])


def test_links_are_followed_but_never_in_circles(tmp_path):
    archive, elsewhere = tmp_path / "archive", tmp_path / "elsewhere"
    for folder in (archive / "p1", elsewhere):
        folder.mkdir(parents=True)
        (folder / "scan").touch()
    (archive / "again").symlink_to(archive)
    (archive / "p1" / "up").symlink_to(archive / "p1")
    (archive / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(archive)
    files, _ = walk(archive)
    assert [path.resolve() for path in files] == [elsewhere / "scan", archive / "p1" / "scan"]


def test_a_pipe_and_a_broken_link_are_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    files, left_out = walk(tmp_path)
    assert files == []
    assert [item.files[0].name for item in left_out] == ["broken", "pipe"]
    assert all("no regular file" in item.reason for item in left_out)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_opened_is_left_out(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    _, [item] = walk(tmp_path)
    assert (item.files, item.reason) == ((tmp_path / "closed",), "a folder that cannot be opened")
