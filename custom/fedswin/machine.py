"""The machine that a measurement or a result comes from."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """Return ``processor``, ``system``, ``cores`` and ``gpu``: the name of the first that torch sees, or ``None``."""
    return {
        "processor": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
