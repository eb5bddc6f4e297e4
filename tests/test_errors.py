"""A library that is not installed is told with the extra that brings it."""

from __future__ import annotations

from importlib import import_module

import pytest

from fedswin.errors import FedSwinError, needs_extra


@pytest.mark.parametrize(("module", "library"), [("no_library", "no_library"), ("json.no_part", "json")])
def test_a_missing_library_is_named_with_its_extra(module: str, library: str) -> None:
    with pytest.raises(FedSwinError) as raised, needs_extra("report", "A picture"):
        import_module(module)
    assert str(raised.value) == f'A picture needs {library}: pip install "fedswin[report]"'


def test_a_library_that_is_there_but_broken_is_not_to_be_installed() -> None:
    with pytest.raises(ImportError, match="undefined symbol"), needs_extra("report", "A picture"):
        raise ImportError("undefined symbol")
