"""Takes the two pictures that the README shows, of the demo run; ``make pictures`` runs it after ``make simulate``.

python tests/report/readme_pictures.py runs/demo simulator
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import chromium, photograph

from fedswin.report.facts import gather
from fedswin.report.page import write_report

_TAGS = r"pictures|round/cosine|train/(loss|learning_rate|voxels)|validation/dice(_liver)?$"


def take_pictures(runs: Path, folder: Path) -> None:
    """Write ``report.png`` and ``tensorboard.png`` into ``folder``.

    Args:
        runs: what ``make simulate`` left.
        folder: where to.
    """
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "report.html"
        write_report(gather([runs / "finetune"]), None, page)
        photograph(page, folder / "report.png", width=1000, height=1900, dark=False, whole=False)
    with tensorboard(runs / "finetune" / "tensorboard") as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1250})
        page.goto(address)
        page.get_by_role("combobox", name="Filter tags (regex)").fill(_TAGS)
        page.get_by_role("button", name="Settings").click()  # closes the pane, which is open at first
        page.wait_for_timeout(5000)  # for the curves, which TensorBoard draws one by one
        page.screenshot(path=folder / "tensorboard.png")


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
