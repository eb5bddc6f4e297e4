"""Takes the two pictures that the README shows, of the demo run. ``make pictures`` runs it after ``make simulate``, as

PYTHONPATH=tests python .ci/pictures.py runs/demo simulator
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
from typing import TYPE_CHECKING

from fedswin.report.facts import gather
from fedswin.report.page import write_report
from report.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_TAGS = r"pictures|round/cosine|train/(loss|learning_rate|voxels)|validation/dice(_liver)?$"


def take_pictures(runs: Path, folder: Path) -> None:
    """Write ``report.png`` and ``tensorboard.png`` into ``folder``.

    Args:
        runs: what ``make simulate`` left.
        folder: where to.
    """
    with chromium() as browser:
        show_report(browser, runs / "finetune", folder / "report.png")
        show_tensorboard(browser, runs / "finetune", folder / "tensorboard.png")


def show_report(browser: Browser, run: Path, picture: Path) -> None:
    """Write the picture of the first page of the report on a run."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.html"
        write_report(gather([run]), None, report)
        page = browser.new_page(viewport={"width": 1000, "height": 1900}, color_scheme="light")
        page.goto(report.as_uri())
        page.screenshot(path=picture)


def show_tensorboard(browser: Browser, run: Path, picture: Path) -> None:
    """Write the picture of a run's curves and cases in TensorBoard."""
    with tensorboard(run / "tensorboard") as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1250})
        page.goto(address)
        page.get_by_role("combobox", name="Filter tags (regex)").fill(_TAGS)
        page.get_by_role("button", name="Settings").click()  # closes the pane, which is open at first
        page.wait_for_timeout(5000)  # for the curves, which TensorBoard draws one by one
        page.screenshot(path=picture)


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
