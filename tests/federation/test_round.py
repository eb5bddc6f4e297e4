"""When a round is over, on a clock that the test turns."""

from __future__ import annotations

import pytest

from fedswin.config import FederationSettings
from fedswin.federation.round import Round


class TurnedClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return TurnedClock()


def start(clock, **settings) -> Round:
    return Round("abcd", FederationSettings(min_sites=2, round_timeout=60, **settings), clock)


def test_a_round_is_over_when_everybody_has_answered_well_or_badly(clock):
    current = start(clock)
    for site in "abc":
        current.note(site, good=False)
        assert not current.is_over(())
    current.note("d", good=False)
    assert current.is_over(())
    assert not current.has_quorum


def test_without_a_grace_it_waits_for_all_until_the_deadline(clock):
    current = start(clock)
    current.note("a", good=True)
    current.note("b", good=True)
    clock.now += 59
    assert not current.is_over(())
    clock.now += 1
    assert current.is_over(())
    assert current.missing == ["c", "d"]


def test_the_grace_runs_from_the_quorum_on_and_not_from_the_first_answer(clock):
    current = start(clock, grace_after_quorum=5)
    current.note("a", good=True)
    clock.now += 20
    assert not current.is_over(())
    current.note("b", good=True)
    clock.now += 4.9
    assert not current.is_over(())
    clock.now += 0.2
    assert current.is_over(())


def test_a_bad_answer_does_not_count_for_the_quorum(clock):
    current = start(clock, grace_after_quorum=0)
    current.note("a", good=True)
    current.note("b", good=False)
    assert not current.is_over(())
    current.note("c", good=True)
    assert current.is_over(())


def test_a_silent_site_is_waited_for_below_the_quorum_and_no_longer_with_it(clock):
    current = start(clock)
    current.note("a", good=True)
    assert not current.is_over("bcd")
    current.note("b", good=True)
    assert not current.is_over("c")
    assert current.is_over("cd")
