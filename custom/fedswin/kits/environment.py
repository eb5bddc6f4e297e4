"""A kit's own environment variables: its file `local/environment`, as systemd and a shell read it, too."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fedswin.errors import FedSwinError

ENVIRONMENT = "environment"
"""The file's name in the kit's folder ``local``."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_environment(local: Path) -> dict[str, str]:
    """Read the variables of a kit. Without the file there are none.

    Args:
        local: the kit's folder ``local``.

    Raises:
        FedSwinError: if a line is something other than ``NAME=value``.
    """
    path = local / ENVIRONMENT
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise FedSwinError(f"{path}: cannot read it ({error}).") from None
    lines = [line.strip() for line in lines]
    return dict(
        _parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line[:1] not in ("", "#")
    )


@contextmanager
def applied(variables: Mapping[str, str]) -> Iterator[None]:
    """Set ``variables`` in this process while the block runs, but for those that it has already."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _parse(line: str, where: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        words = [value, value]
    if not _NAME.fullmatch(name) or "=" not in line or len(words) > 1:
        raise FedSwinError(f"{where}: expected NAME=value. Put a value with spaces in double quotes.")
    return name, "".join(words)
