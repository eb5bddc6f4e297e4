"""How numbers and names are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedswin.report.wording import MISSING, breakable, count, duration, listed, ranges, significant, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.42454, "0.425"),
        (0.4, "0.400"),
        (-0.5, "−0.500"),
        (0.0, "0.00"),
        (100.0, "100"),
        (999.6, "1 000"),
        (12345.0, "12 300"),
        (1e-4, "0.000100"),
        (1e-5, "1.00e−5"),
        (1.75e308, "1.75e308"),
        (-1.7976e308, "−1.80e308"),
        (None, MISSING),
        (float("nan"), MISSING),
    ],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert significant(value) == text


@given(st.floats(1e-4, 1e9))
def test_a_number_is_right_to_three_digits(value: float) -> None:
    assert float(significant(value).replace(" ", "").replace("−", "-")) == pytest.approx(value, rel=0.00501)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (38.24, "38.2 s"),
        (60, "1 min"),
        (65, "1 min 5 s"),
        (11_400, "3 h 10 min"),
        (90_000, "1 d 1 h"),
        (None, MISSING),
        (float("inf"), MISSING),
        (1.75e308, MISSING),
    ],
)
def test_a_time_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_bytes_and_counts() -> None:
    assert [size(n) for n in (0, 500, 16_329_300, 2.5e9, None)] == ["0 kB", "0.500 kB", "16.3 MB", "2.50 GB", MISSING]
    assert size(float("inf")) == MISSING
    assert [count(n) for n in (0, 450_000, None)] == ["0", "450 000", MISSING]


def test_names_in_a_sentence() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        MISSING,
        "a",
        "a and b",
        "a, b and c",
    ]


@given(st.sets(st.integers(1, 60)))
def test_ranges_say_which_numbers_there_are(numbers: set[int]) -> None:
    read = set()
    for part in filter(None, ranges(sorted(numbers)).split(", ")):
        first, _, last = part.partition("–")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == numbers
    assert ranges([1, 2, 3, 7, 9, 10]) == "1–3, 7, 9–10"


def test_a_name_that_may_be_broken_is_still_escaped() -> None:
    assert breakable("a/north_<b>") == "a/<wbr>north_&lt;b&gt;"
    assert breakable("the_hospital_of_the_north") == "the_<wbr>hospital_<wbr>of_<wbr>the_<wbr>north"
