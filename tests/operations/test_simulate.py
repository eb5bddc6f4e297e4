"""GPUs of a simulation are given by number."""

from __future__ import annotations

import pytest

from fedswin.operations.simulate import parse_gpus


@pytest.mark.parametrize(("text", "numbers"), [("0", [0]), ("0,1", [0, 1]), ("3, 10", [3, 10])])
def test_gpus_are_numbers(text: str, numbers: list[int]) -> None:
    assert parse_gpus(text) == numbers
