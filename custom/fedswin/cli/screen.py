"""Where commands print, and the closing lines that several share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

console = Console(highlight=False, soft_wrap=True, emoji=False)
stderr = Console(highlight=False, soft_wrap=True, emoji=False, stderr=True)


def print_outcome(out: Path) -> None:
    """Say where a run is, and how to look at it."""
    console.print(f"Done. Models, metrics and curves are in {out}", markup=False)
    console.print(f"Look at the curves: tensorboard --logdir {out}", markup=False)


def print_json(content: Any) -> None:
    """Print a result for scripts, alone on stdout."""
    print(json.dumps(content, indent=2))
