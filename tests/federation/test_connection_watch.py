"""A site's log says why the server may be silent, once, and when it is not any more."""

from __future__ import annotations

import logging

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext

from fedswin.federation import connection_watch
from fedswin.federation.connection_watch import ConnectionWatch

QUICK, LATE, NONE = 1.0, 30.0, None
"""How a heartbeat is answered: after some seconds, or never."""
SILENT, AGAIN = "another process has taken this site's name", "The server answers again"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([QUICK] * 5, []),
        ([LATE] * 3, [SILENT]),
        ([NONE, NONE, NONE], [SILENT]),
        ([QUICK, LATE, LATE, QUICK, QUICK], [SILENT, AGAIN]),
        ([NONE, QUICK, LATE, QUICK], [SILENT, AGAIN, SILENT, AGAIN]),
    ],
)
def test_what_is_said_of_heartbeats(
    answers: list[float | None], said: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(connection_watch.time, "monotonic", lambda: now[0])
    watch = ConnectionWatch()
    with caplog.at_level(logging.INFO):
        for seconds in answers:
            watch.handle_event(EventType.BEFORE_CLIENT_HEARTBEAT, FLContext())
            if seconds is not None:
                now[0] += seconds
                watch.handle_event(EventType.AFTER_CLIENT_HEARTBEAT, FLContext())
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(said)
    assert all(part in line for part, line in zip(said, lines, strict=True))
