"""A mapping that makes its values when they are read: what a dict of them would be, and never two at once."""

from __future__ import annotations

import weakref

import pytest

from fedswin.federation.one_by_one import OneByOne


class Value:
    """Something that can be seen to be alive."""


def test_it_is_the_mapping_of_what_is_made():
    assert OneByOne(["a", "b"], lambda name: name * 2) == {"a": "aa", "b": "bb"}


def test_a_name_that_it_does_not_have_is_missing():
    lengths = OneByOne(["a", "b"], len)
    assert "c" not in lengths
    with pytest.raises(KeyError, match="c"):
        lengths["c"]


def test_asking_for_a_name_makes_nothing_and_reading_it_makes_one_through_two_of_them():
    made = []
    inner = OneByOne(["a"], lambda name: made.append(name) or name)
    outer = OneByOne(inner, lambda name: inner[name] * 2)
    assert "a" in outer
    assert made == []
    assert outer["a"] == "aa"
    assert made == ["a"]


def test_what_it_has_made_lives_no_longer_than_whoever_reads_it():
    values = OneByOne(["a"], lambda _: Value())
    value = values["a"]
    seen = weakref.ref(value)
    del value
    assert seen() is None
