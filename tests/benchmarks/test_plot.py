"""The plot has a chart for each cost, and a line for each side, where its figures are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from fedswin.benchmarks.plot import draw
from fedswin.benchmarks.row import Growth, Row

SVG = "{http://www.w3.org/2000/svg}"


def row(sites: int, ours: Sequence[float], other: Sequence[float]) -> Row:
    growth = Growth("Peak <memory>", "sites", sites, "MB")
    return Row("server", f"{sites} sites", "peak memory", "MB", ours, "all held", other, growths=[growth])


def test_every_cost_has_a_chart_with_a_line_for_each_side() -> None:
    rows = [row(2, [100.0, 120.0, 900.0], [300.0]), row(16, [100.0, 120.0, 130.0], [1700.0])]
    for width, speed in ((12, 2.0), (24, 1.0)):
        step = Growth("A step", "feature size", width, "seconds", work=4.0)
        rows.append(Row("step", "a step", "speed", "views/s", [speed], "plain", [speed / 2], growths=[step]))
    root = ElementTree.fromstring(draw(rows))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"Peak <memory>", "A step", "FedSwin", "all held", "plain", "sites", "MB", "seconds"} <= set(texts)
    dots = [title.text for circle in root.iter(f"{SVG}circle") for title in circle]
    assert dots == [
        "FedSwin, sites 2: 120",
        "FedSwin, sites 16: 120",
        "all held, sites 2: 300",
        "all held, sites 16: 1 700",
        "FedSwin, feature size 12: 2.00",
        "FedSwin, feature size 24: 4.00",
        "plain, feature size 12: 4.00",
        "plain, feature size 24: 8.00",
    ]


def test_charts_do_not_lie_on_each_other() -> None:
    growths = [Growth(f"Cost {number}", "sites", sites, "MB") for number in range(3) for sites in (2, 4)]
    text = draw([Row("server", "2 sites", "peak memory", "MB", [1.0], "all held", [2.0], growths=growths)])
    places = re.findall(r'<g transform="translate\((\d+) (\d+)\)">\n<text class="title"', text)
    assert len(set(places)) == 3


def test_what_was_measured_nowhere_or_at_one_place_has_no_chart() -> None:
    root = ElementTree.fromstring(draw([Row("step", "a step", not_measured="no GPU"), row(2, [1.0], [2.0])]))
    assert not list(root.iter(f"{SVG}circle"))
