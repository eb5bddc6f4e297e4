"""State that outlives a process: whole or not there, two kept, a damaged one left out."""

from __future__ import annotations

import logging

import pytest
import torch

from fedswin.federation.state import StateFolder


def content(number: int) -> dict[str, object]:
    return {"number": number, "weights": torch.full((1000,), float(number)), "nested": {"list": [1, 2.5, "x", None]}}


@pytest.fixture
def states(tmp_path):
    folder = StateFolder(tmp_path / "state")
    for number in range(4):
        folder.save(number, content(number))
    return folder


def files(tmp_path):
    return sorted((tmp_path / "state").iterdir())


def test_there_is_none_before_the_first(tmp_path):
    assert StateFolder(tmp_path / "state").load() is None


def test_the_newest_comes_back_as_it_was(states):
    number, loaded = states.load()
    assert number == 3
    assert torch.equal(loaded.pop("weights"), torch.full((1000,), 3.0))
    assert loaded == {"number": 3, "nested": {"list": [1, 2.5, "x", None]}}


def test_the_last_two_are_kept_and_nothing_else(states, tmp_path):
    assert [path.name[:6] for path in files(tmp_path)] == ["000002", "000003"]


def test_a_state_below_a_number_can_be_asked_for(states):
    assert states.load(below=3)[0] == 2
    assert states.load(below=2) is None


@pytest.mark.parametrize("damage", ["cut", "flipped bit"])
def test_a_damaged_state_falls_back_to_the_one_before(states, tmp_path, damage, caplog):
    newest = files(tmp_path)[-1]
    raw = bytearray(newest.read_bytes())
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    else:
        raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        assert states.load()[0] == 2
    assert "State 3 is damaged" in caplog.text


def test_a_state_that_cannot_be_written_leaves_those_before_it(states, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        states.save(4, content(4))
    assert states.load()[0] == 3
    assert len(files(tmp_path)) == 2


def test_a_round_that_is_made_again_replaces_its_state(states, tmp_path):
    states.save(3, content(30))
    number, loaded = states.load()
    assert (number, loaded["number"]) == (3, 30)
    assert [path.name[:6] for path in files(tmp_path)] == ["000002", "000003"]


def test_a_number_written_again_after_a_later_one_leaves_that_one_out(tmp_path):
    """A site may have trained a round whose update the server never had; it trains it again."""
    folder = StateFolder(tmp_path / "state")
    for number in (5, 6):
        folder.save(number, content(number))
    folder.save(6, content(60))
    assert folder.load()[1]["number"] == 60
    assert folder.load(below=6)[1]["number"] == 5
