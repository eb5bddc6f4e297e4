"""The page in a browser: it asks for nothing, fits every screen, and can be printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedswin.outcome import Outcome
from fedswin.report.facts import gather
from fedswin.report.page import write_report
from report import runs
from report.browser import chromium, find_chromium
from report.runs import FINETUNE, write_run

pytest.importorskip("playwright", reason="playwright, of the extra dev, is not installed")
pytestmark = pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium: apt install chromium")

HEADINGS = [
    "What happened",
    "Who took part",
    "Scores",
    "Scores by round",
    "Training at the sites",
    "Attendance",
    "Traffic and time",
    "Settings that differ from the paper",
    "Provenance",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report of two runs, one of them with a long name."""
    folder = tmp_path_factory.mktemp("study")
    done = Outcome("completed", 3, "All 3 rounds are done.")
    write_run(folder / "a_run_with_a_rather_long_name_that_no_phone_is_wide_enough_for", FINETUNE, runs.three_sites())
    write_run(folder / "scratch", FINETUNE, runs.three_sites(), ended=done)
    write_report(gather(sorted(folder.iterdir())), None, folder / "report.html")
    return (folder / "report.html").as_uri()


def test_it_asks_for_nothing_and_complains_of_nothing(browser: Any, report: str) -> None:
    page, asked, said = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(report, wait_until="networkidle")
    assert asked == [report]
    assert said == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_is_no_wider_than_the_window(browser: Any, report: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(report)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_heading_is_seen(browser: Any, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    for heading in HEADINGS:
        found = page.get_by_role("heading", name=heading, exact=True)
        assert found.count() == 2
        assert all(found.nth(number).is_visible() for number in range(2))


def test_light_and_dark_differ_and_can_be_read(browser: Any, report: str) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(report)
        script = "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
        shades[scheme] = [luminance(colour) for colour in page.evaluate(script)]
    assert shades["light"][0] > 0.9
    assert shades["dark"][0] < 0.05
    for background, text in shades.values():
        darker, lighter = sorted((background, text))
        assert (lighter + 0.05) / (darker + 0.05) > 7  # WCAG 2, level AAA


def test_the_numbers_of_a_chart_unfold(browser: Any, report: str) -> None:
    page = browser.new_page()
    page.goto(report)
    details = page.locator("details").first
    assert not details.locator("table").is_visible()
    details.locator("summary").click()
    assert details.locator("table").is_visible()


def test_it_can_be_printed(browser: Any, report: str, tmp_path: Path) -> None:
    page = browser.new_page(color_scheme="dark", viewport={"width": 672, "height": 950})
    page.goto(report)
    printed = page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert printed.startswith(b"%PDF")
    assert len(printed) > 10_000
    page.emulate_media(media="print")
    white = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert luminance(white) == pytest.approx(1)
    clipped = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1).length"
    assert page.evaluate(clipped) == 0


def luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)``, as WCAG 2 defines it."""
    shares = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
