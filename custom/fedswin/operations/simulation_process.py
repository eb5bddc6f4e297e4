"""The process that runs NVFlare's simulator, apart from the one that talks to the user.

It ends when that one does, however it ends. Usage:
``python -m fedswin.operations.simulation_process INITIAL.pt WORKSPACE SITE[,SITE…] [GPUS]``
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path

from nvflare.recipe import SimEnv

from fedswin.federation.recipe import SERVER_CLASSES, SITE_CLASSES, FedSwinRecipe, class_paths
from fedswin.operations.process_family import end_family
from fedswin.weights.file import load_weights


def run(initial: Path, workspace: Path, sites: list[str], gpus: str | None = None) -> None:
    """Run the job of the initial weights in NVFlare's simulator; the workspace's path must hold no space."""
    weights = load_weights(initial)
    _allow_classes(workspace / weights.job.name)
    with tempfile.TemporaryDirectory() as folder:
        recipe = FedSwinRecipe(weights.job, weights, sites, Path(folder))
        recipe.execute(SimEnv(clients=sites, workspace_root=str(workspace), gpu_config=gpus))


def end_with_parent() -> None:
    """End this process and all that it has started as soon as its parent is gone.

    The parent holds the other end of our standard input: when it dies, whatever of, reading comes to an end.
    """

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        end_family()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _allow_classes(workspace: Path) -> None:
    """Allow exactly the classes of our jobs; in a simulation server and sites read the same list."""
    local = workspace / "local"
    local.mkdir(parents=True, exist_ok=True)
    allowed = class_paths((*SERVER_CLASSES, *SITE_CLASSES))
    (local / "resources.json").write_text(json.dumps({"format_version": 2, "class_allow_list": allowed}))


if __name__ == "__main__":
    end_with_parent()
    arguments = sys.argv[1:]
    del sys.argv[1:]  # NVFlare's recipes look for options of their own
    run(Path(arguments[0]), Path(arguments[1]), arguments[2].split(","), *arguments[3:])
