"""Takes the two pictures that the README shows, of the demo run; ``make pictures`` runs it after ``make simulate``.

python tests/report/readme_pictures.py runs/demo simulator
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import chromium, photograph

_TAGS = "validation/(dice|dice_liver|dice_aorta)$|train/loss|cosine|update_norm|seconds_waiting|voxels"
_REPORT, _CURVES = "report.png", "tensorboard.png"


def take_pictures(runs: Path, folder: Path) -> None:
    """Write ``report.png`` and ``tensorboard.png`` into ``folder``.

    Args:
        runs: what ``make simulate`` left: ``report.html``, and the run ``finetune``.
        folder: where to.
    """
    photograph(runs / "report.html", folder / _REPORT, width=1000, height=1500, dark=False, whole=False)
    with tensorboard(runs / "finetune" / "tensorboard") as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(f"{address}/#timeseries&tagFilter={_TAGS}&smoothing=0")
        page.get_by_role("button", name="Settings").click()  # closes the pane, which is open at first
        page.wait_for_timeout(5000)  # for the curves, which TensorBoard draws one by one
        page.screenshot(path=folder / _CURVES)


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """Run TensorBoard, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            next(line for line in process.stderr if "(Press CTRL+C to quit)" in line)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take the pictures of the README.")
    parser.add_argument("runs", type=Path)
    parser.add_argument("folder", type=Path)
    take_pictures(**vars(parser.parse_args()))
