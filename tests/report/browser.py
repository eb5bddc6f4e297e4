"""The Chromium that the system has, driven by playwright; as a command, it takes the picture of a page.

python tests/report/browser.py report.html picture.png --width 1000 --height 1300
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of a Chromium, or ``None`` if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium without a window, and end it with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container does not give; the page is our own.
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def photograph(page: Path, picture: Path, *, width: int, height: int, dark: bool, whole: bool) -> None:
    """Write a PNG of ``page`` as a window of ``width`` by ``height`` shows it, or of its whole length."""
    with chromium() as browser:
        view = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        view.goto(page.absolute().as_uri())
        view.screenshot(path=picture, full_page=whole)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take the picture of a page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1300)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true")
    given = vars(parser.parse_args())
    photograph(given.pop("page"), given.pop("picture"), **given)
