"""The process of a kit: NVFlare's, which ends its jobs when it is ended.

NVFlare's own leaves them: they go on for up to a minute before they see that they are alone.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from types import FrameType

from nvflare.private.fed.app.utils import kill_child_processes

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Run the module of NVFlare that the first argument names, with the other arguments."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _end)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end(number: int, _: FrameType | None) -> None:
    """Kill the jobs, which may be killed at any moment, and die of the signal, so that the parent sees of what."""
    kill_child_processes(os.getpid())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()
