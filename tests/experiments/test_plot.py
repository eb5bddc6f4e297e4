"""The plot, by what is in its SVG."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments.studies import CELL, row
from fedswin.errors import FedSwinError
from fedswin.experiments.plot import draw, require_plots

FEDERATED = replace(CELL, arm="federated", objective="inpainting", cases="all")
ROWS = [
    row(replace(cell, labels=labels, seed=seed), {"a/1": 0.1 * (seed + 1)})
    for cell in (CELL, FEDERATED)
    for labels in ("all", 10, 2)
    for seed in (0, 1)
]


def texts(path: Path) -> list[str]:
    svg = ElementTree.parse(path).getroot()
    return [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_amounts_run_from_few_to_all_and_every_arm_is_named(tmp_path: Path) -> None:
    draw(ROWS, tmp_path / "plot.svg")
    found = texts(tmp_path / "plot.svg")
    assert [text for text in found if text in ("2", "10", "all")] == ["2", "10", "all"]
    assert {"scratch", "federated", "labelled cases a site"} <= set(found)
    assert "local" not in found


def test_each_shard_has_its_panel(tmp_path: Path) -> None:
    draw([*ROWS, *(replace(r, cell=replace(r.cell, shard="unequal")) for r in ROWS)], tmp_path / "plot.svg")
    assert {"as they are", "unequal"} <= set(texts(tmp_path / "plot.svg"))


@pytest.mark.parametrize("axis", ["left_out", "task", "shard", "cases", "objective"])
def test_whatever_a_plan_varies_can_be_drawn(tmp_path: Path, axis: str) -> None:
    draw([row(replace(FEDERATED, **{axis: value}), {"a/1": 0.5}) for value in ("x", "y")], tmp_path / "plot.svg")
    assert {"x", "y"} <= set(texts(tmp_path / "plot.svg"))


@pytest.mark.parametrize("axis", ["cases", "objective"])
def test_from_scratch_has_no_place_on_an_axis_of_pre_training(tmp_path: Path, axis: str) -> None:
    rows = [row(CELL, {"a/1": 0.4}), *(row(replace(FEDERATED, **{axis: v}), {"a/1": 0.5}) for v in ("x", "y"))]
    draw(rows, tmp_path / "plot.svg")
    found = texts(tmp_path / "plot.svg")
    assert found.count("scratch") == 1  # in the legend
    assert {"x", "y"} <= set(found)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw(ROWS, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(FedSwinError, match=r'pip install "fedswin\[report\]"'):
        require_plots()
