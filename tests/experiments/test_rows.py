"""The CSV: what is written is read again, and is a table that other tools read."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.studies import ABOUT, CELL
from fedswin.errors import FedSwinError
from fedswin.experiments.rows import ABOUT as ABOUT_COLUMNS
from fedswin.experiments.rows import MEASURES, Row, csv_of, holds_rows, read_rows, write_rows

RECORDED = sorted((Path(__file__).parents[2] / "simulator" / "results").glob("*.csv"))

numbers = st.integers(-(10**5), 10**5).map(lambda n: n / 1000)  # six digits are written
names = st.text(st.characters(whitelist_categories=["L", "N", "P", "Zs"]), min_size=1, max_size=12)
cells = st.builds(
    replace,
    st.just(CELL),
    labels=st.one_of(st.integers(1, 99), st.just("all")),
    arm=st.sampled_from(["scratch", "local", "federated", "central"]),
    objective=st.sampled_from(["", "inpainting", "inpainting + rotation"]),
    cases=st.one_of(st.integers(1, 99), st.sampled_from(["", "all"])),
    seed=st.integers(0, 99),
    encoder_seed=st.one_of(st.just(""), st.integers(0, 99)),
    frozen=st.booleans(),
)
rows = st.builds(
    Row,
    key=st.uuids().map(str),
    cell=cells,
    measures=st.dictionaries(st.sampled_from(MEASURES), numbers),
    classes=st.dictionaries(names, numbers, max_size=3),
    sites=st.dictionaries(names, numbers, max_size=3),
    cases=st.dictionaries(names, numbers, max_size=3),
    about=st.just(ABOUT),
    hd95=st.dictionaries(names, numbers, max_size=3),
    nsd=st.dictionaries(names, numbers, max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, max_size=4))
def test_rows_come_back_as_they_were(tmp_path: Path, written: list[Row]) -> None:
    write_rows(csv_of(tmp_path, "plan"), written)
    assert read_rows(tmp_path / "plan.csv") == written


def test_a_plan_that_has_not_run_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "plan.csv") == []


def test_every_column_has_a_heading_and_every_line_a_value_for_each(tmp_path: Path) -> None:
    one = Row("k1", CELL, {"dice": 0.5}, {"liver": 0.75}, {"a": 0.5}, {"a/x": 0.5}, ABOUT)
    two = replace(one, key="k2", sites={"b": 0.25}, cases={"b/y": 0.25})
    write_rows(tmp_path / "plan.csv", [one, two])
    with (tmp_path / "plan.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["key"] for line in lines] == ["k1", "k2"]
    assert lines[0]["dice in liver"] == "0.75"
    assert lines[0]["dice at a"] == "0.5"
    assert lines[0]["dice at b"] == ""
    assert lines[1]["dice of b/y"] == "0.25"
    assert set(ABOUT_COLUMNS) <= lines[0].keys()
    assert all(None not in line and None not in line.values() for line in lines)


@pytest.mark.parametrize("path", RECORDED, ids=[path.stem for path in RECORDED])
def test_csvs_of_before_are_read_with_one_seed_for_all_and_encoders_that_nobody_told_of(path: Path) -> None:
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert "encoder_seed" not in lines[0]
    assert holds_rows(path)
    for row, line in zip(read_rows(path), lines, strict=True):
        assert str(row.cell.encoder_seed) == ("" if line["arm"] == "scratch" else line["seed"])
        assert (row.cell.frozen, row.about["encoder"], row.hd95) == (False, "", {})
        assert row.measures["dice"] == float(line["dice"])


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "key,task\nk,t\n"])
def test_another_csv_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.csv").write_text(content)
    with pytest.raises(FedSwinError, match="is not the CSV of an experiment"):
        read_rows(tmp_path / "plan.csv")


def test_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "plan.csv", [Row("k", CELL, {"dice": 0.5}, {}, {}, {}, ABOUT)])
    path = tmp_path / "plan.csv"
    path.write_text(path.read_text().replace("0.5", "good"))
    with pytest.raises(FedSwinError, match="is not the CSV of an experiment"):
        read_rows(path)
