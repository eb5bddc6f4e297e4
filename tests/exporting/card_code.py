"""The Python code of a model card, run as someone would who has the card."""

from __future__ import annotations

import re
from typing import Any


def run_code(card: str) -> dict[str, Any]:
    """Run the card's Python code, block after block, as someone would who types it in."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, names)
    return names
