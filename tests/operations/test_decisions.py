"""What the sites decided about a job, read from what the server tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from fedswin.errors import FedSwinError
from fedswin.operations import decisions as module
from fedswin.operations.decisions import Decision, await_decisions

RUNNING = {"status": "RUNNING", "job_deploy_detail": ["server: OK", "a: OK", "b: NVFLARE_ERROR: it asks: for 2 GPUs"]}


class Session:
    """A session with a server that tells one thing after the other of a job, and then always the last."""

    def __init__(self, *told: dict[str, Any]) -> None:
        self.told = list(told)
        self.aborted: list[str] = []

    def job(self, job_id: str) -> dict[str, Any]:
        return self.told.pop(0) if len(self.told) > 1 else self.told[0]

    def abort(self, job_id: str) -> None:
        self.aborted.append(job_id)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)


def ask(session: Session, needed: int) -> list[Decision]:
    return await_decisions(session, "7", ["a", "b"], needed)  # type: ignore[arg-type]


def test_it_waits_until_all_have_decided_and_tells_who_refuses_and_why() -> None:
    session = Session({"status": "SUBMITTED"}, {"status": "DISPATCHED"}, RUNNING)
    assert ask(session, 1) == [Decision("server", ""), Decision("a", ""), Decision("b", "it asks: for 2 GPUs")]
    assert [str(decision) for decision in ask(session, 1)][1:] == [
        "a takes the job",
        "b refuses the job: it asks: for 2 GPUs",
    ]
    assert session.aborted == []


def test_a_job_that_too_few_take_is_stopped() -> None:
    session = Session(RUNNING)
    with pytest.raises(FedSwinError, match="Too few sites take job 7: 2 are needed. b refuses the job: it asks"):
        ask(session, 2)
    assert session.aborted == ["7"]


def test_a_job_that_the_server_gave_up_is_not_stopped_again() -> None:
    why = "2026-11-28: not enough sites have enough resources"
    session = Session({"status": "FINISHED:CAN_NOT_SCHEDULE", "schedule_history": ["earlier", why]})
    with pytest.raises(FedSwinError, match="not enough sites have enough resources"):
        ask(session, 1)
    assert session.aborted == []


def test_reasons_that_come_after_the_state_are_waited_for() -> None:
    failed = {"status": "FINISHED:FAILED_TO_RUN"}
    session = Session(
        failed, {**failed, "job_deploy_detail": ["server: OK", "a: NVFLARE_ERROR: no", "b: NVFLARE_ERROR: no"]}
    )
    with pytest.raises(FedSwinError, match="a refuses the job: no; b refuses the job: no"):
        ask(session, 1)


def test_a_job_that_waits_for_others_is_left_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    session = Session({"status": "SUBMITTED"})
    assert ask(session, 1) == []
    assert session.aborted == []
