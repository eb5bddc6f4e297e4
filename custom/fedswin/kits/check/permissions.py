"""Who can read a kit's private key, and whether its process can write."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result
from fedswin.kits.kit import ASK_AGAIN


def check_key(context: Context) -> Iterator[Result]:
    """The private key must be its owner's alone, and whoever starts the kit is the owner."""
    path = context.kit.key
    try:
        about = path.stat()
    except OSError as error:
        yield Result("key", "error", f"{path}: cannot read it ({error.strerror})", ASK_AGAIN)
        return
    mode, me = stat.S_IMODE(about.st_mode), os.geteuid()
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        found = f"{path} is open to other users of this machine: its mode is {mode:04o}"
        fix = f"Run: chmod 600 {path}. If others use this machine, {ASK_AGAIN[0].lower()}{ASK_AGAIN[1:]}"
        yield Result("key", "error", found, fix)
    elif about.st_uid != me:
        found = f"{path} belongs to {_user(about.st_uid)}, and you are {_user(me)}"
        fix = "Check and start the kit as its owner, or give it to whoever shall run it with chown -R."
        yield Result("key", "warning" if me == 0 else "error", found, fix)
    else:
        yield Result("key", "ok", f"yours alone, mode {mode:04o}")


def check_writable(context: Context) -> Iterator[Result]:
    """The process writes logs, jobs and the state of studies into its kit."""
    try:
        for folder in (context.kit.folder, *_written(context.kit.folder)):
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        fix = "Give the folder to whoever starts the kit, on a disk that can be written."
        yield Result("writing", "error", f"{folder}: cannot write there ({error.strerror})", fix)
    else:
        yield Result("writing", "ok", "the kit can be written")


def _written(kit: Path) -> list[Path]:
    """Return the folders in the kit that its process writes, as far as they are there."""
    return [folder for name in ("transfer", "studies", "storage") if (folder := kit / name).is_dir()]


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
