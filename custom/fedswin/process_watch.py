"""A process that ends when the one that started it is gone, however that ended."""

from __future__ import annotations

import os
import signal
import threading
import time

_SECONDS = 0.5


def end_with_parent(parent: int) -> None:
    """Kill this process soon after its parent has died.

    The kernel's own signal for that (``PR_SET_PDEATHSIG``) comes when the *thread* that started the process ends, and
    only Linux has it.

    Args:
        parent: the number of the process that has started this one. It may have died before this is called.
    """
    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)  # whatever it is at, for nobody waits for it
