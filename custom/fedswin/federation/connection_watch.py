"""Says in a site's log why it may hear nothing of the server, which NVFlare does not."""

from __future__ import annotations

import time

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

_SECONDS = 20.0
"""A server that lives answers sooner; NVFlare gives up after 30, and takes that for an answer."""


class ConnectionWatch(FLComponent):
    """Watches how long the server takes to answer a site's heartbeats.

    A second process under the site's name, such as that of a copied kit, takes the connection away from the first. What
    the first notices of it is that its heartbeats have no answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sent: float | None = None  # when the heartbeat was sent that has no answer yet
        self._is_silent = False

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Warn when a heartbeat has had no answer, and say when one has again."""
        if event_type == EventType.BEFORE_CLIENT_HEARTBEAT:
            if self._sent is not None:
                self._note(True, fl_ctx)
            self._sent = time.monotonic()
        elif event_type == EventType.AFTER_CLIENT_HEARTBEAT and self._sent is not None:
            self._note(time.monotonic() - self._sent > _SECONDS, fl_ctx)
            self._sent = None

    def _note(self, is_silent: bool, fl_ctx: FLContext) -> None:
        if is_silent and not self._is_silent:
            self.log_warning(
                fl_ctx,
                "The server does not answer. Either the network is cut, or another process has taken this site's name, "
                "such as a copy of this kit: then the server's log says 'already registered'. Stop the copy.",
                fire_event=False,
            )
        elif self._is_silent and not is_silent:
            self.log_info(fl_ctx, "The server answers again.", fire_event=False)
        self._is_silent = is_silent
