"""What the trainer's process does at a real site, beside answering: it ends with the job's process, and it logs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from fedswin.federation import messages
from fedswin.federation.client import serve
from fedswin.process_watch import end_with_parent


def run(processes: int) -> None:
    """Answer the server's tasks until the job ends, training in so many processes.

    What is printed and logged goes to the log of the job's process, which stays at the site.
    """
    end_with_parent(int(os.environ[messages.JOB_PROCESS_VARIABLE]))
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(levelname)s: %(message)s")
    os.chdir(Path(__file__).with_name("trainer"))  # a process that it starts looks for modules in the working directory
    serve(processes)
