"""Who took part in which round, and how many rounds are drawn together."""

from __future__ import annotations

from fedswin.records import round_record
from fedswin.report.attendance import Span, attendance, refusals, spans
from report import runs


def test_what_each_site_did_in_each_round() -> None:
    """The late answer of c is of question 0, so of round 1, in which it was missing."""
    assert attendance(runs.three_sites()[1:], ["a", "b", "c", "d"]) == {
        "a": {1: "trained", 2: "trained", 3: "trained"},
        "b": {1: "trained", 2: "trained", 3: "missing"},
        "c": {1: "late", 2: "refused", 3: "missing"},
        "d": {1: "absent", 2: "absent", 3: "absent"},
    }


def test_a_site_that_was_not_drawn_only_scores() -> None:
    record = round_record(1, "ok", {"a": runs.site({"liver": 0.5})})
    assert attendance([record], ["a"]) == {"a": {1: "scored"}}


def test_few_rounds_stand_one_by_one() -> None:
    assert spans({1: "trained", 2: "trained"}) == [Span("trained", 1, 1), Span("trained", 2, 2)]


def test_many_rounds_that_are_alike_stand_together() -> None:
    states = {number: "missing" if number in (100, 101) else "trained" for number in range(1, 901)}
    found = spans(states)
    assert found == [Span("trained", 1, 99), Span("missing", 100, 101), Span("trained", 102, 900)]
    assert [span.rounds for span in found] == ["rounds 1–99", "rounds 100–101", "rounds 102–900"]


def test_refusals_come_with_their_reasons() -> None:
    [refusal] = refusals(runs.three_sites())
    assert (refusal.round, refusal.site) == (2, "c")
    assert "10" in refusal.reason
