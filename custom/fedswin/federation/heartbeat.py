"""A site's sign of life, while its trainer is busy with a round that may take hours."""

from __future__ import annotations

import logging
import threading
from typing import Any

from nvflare.apis.shareable import Shareable
from nvflare.fuel.f3.cellnet.fqcn import FQCN

from fedswin.federation import messages

_SECONDS = 5.0

log = logging.getLogger(__name__)


class Heartbeat:
    """Tells the server every few seconds that this process lives. NVFlare's simulator has nothing like it.

    Args:
        engine: NVFlare's engine of the site.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._ends = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def end(self) -> None:
        """Send no more."""
        self._ends.set()

    def _beat(self) -> None:
        while not self._ends.wait(_SECONDS):
            try:
                self._send()
            except Exception as error:  # the network is cut, perhaps; this thread must still be there when it is back
                log.info("The server was sent no sign of life: %s", error)

    def _send(self) -> None:
        with self._engine.new_context() as fl_ctx:
            self._engine.send_aux_request(
                targets=[FQCN.ROOT_SERVER],
                topic=messages.ALIVE,
                request=Shareable(),
                timeout=0.0,  # does not wait for the reply
                fl_ctx=fl_ctx,
                optional=True,
            )
