"""What counts as a number in what a site says."""

from __future__ import annotations

import math
from typing import Any


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
