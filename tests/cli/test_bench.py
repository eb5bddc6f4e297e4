"""``fedswin bench``: its shape, never its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.study import Command


def test_an_unknown_kind_is_named(fedswin: Command) -> None:
    code, _, error = fedswin("bench", "steps")
    assert (code, "bench steps: unknown (did you mean 'step'?)" in error) == (1, True), error


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_nothing_is_measured_for_a_file_that_is_there(fedswin: Command, tmp_path: Path, option: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    for more, message in (([], "exists"), (["--overwrite"], "something other than")):
        code, _, error = fedswin("bench", "step", option, str(path), *more)
        assert (code, message in error) == (1, True), error
    assert path.read_text() == "mine"


@pytest.mark.long
def test_every_kind_is_measured(fedswin: Command) -> None:
    rows = measured(fedswin, "step", "load", "exchange", "server", "infer")
    assert [row["kind"] for row in rows if not row["not_measured"]].count("exchange") == 14
    assert {row["kind"] for row in rows} == {"step", "load", "exchange", "server", "infer"}
    agree = [row["ours"] for row in rows if row["figure"] == "labels that agree"]
    assert agree == [[100.0], [100.0]]


@pytest.mark.long
@pytest.mark.end_to_end
def test_a_federation_is_measured(fedswin: Command) -> None:
    rows = measured(fedswin, "federation")
    assert {row["kind"] for row in rows} == {"federation"}
    start, rest, training, scoring, *others = ([row["ours"][0], *row["other"]] for row in rows)
    assert all(seconds > 0 for pair in (start, rest, training, scoring) for seconds in pair)
    assert sum(part[0] for part in (training, scoring, *others)) == pytest.approx(rest[0])


def measured(fedswin: Command, *kinds: str) -> list[dict[str, Any]]:
    """Return the rows; what is not measured is for want of a GPU, and no bar is met or missed."""
    code, out, error = fedswin("bench", *kinds, "--quick", "--json", "bench.json", "--plot", "bench.svg")
    assert code == 0, error
    assert "these figures say nothing about real ones" in out
    assert Path("bench.svg").read_text().startswith("<svg")
    found = json.loads(Path("bench.json").read_text())
    for row in found["rows"]:
        assert row["met"] is None
        assert row["ours"] or "GPU" in row["not_measured"], row["not_measured"]
        assert len(row["ratios"]) == len(row["other"])
    return list(found["rows"])
