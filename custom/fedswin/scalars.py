"""What counts as a number, a count or the kind of an error in what a site says."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

_LARGEST = 3.4e38
_KIND_OF_ERROR = re.compile(r"[A-Za-z][\w' ]{0,60}( \([A-Z0-9]{1,20}\))?")
"""The kind of an error; its message may name a file."""


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number in the range of a float32, whose sums are finite; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST


def is_count(value: Any) -> TypeGuard[int]:
    """Whether ``value`` is a whole number, 0 or more; a truth value is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_kind_of_error(value: Any) -> TypeGuard[str]:
    """Whether ``value`` names the kind of an error, and so no file and no person."""
    return isinstance(value, str) and _KIND_OF_ERROR.fullmatch(value) is not None
