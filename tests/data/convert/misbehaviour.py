"""What reading a volume can do to the process that does it. A module, so that worker processes can import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fedswin.data.convert.source import Source
from fedswin.data.convert.worker import Outcome, convert_source


def convert_or_misbehave(source: Source, folder: Path, *, resample: bool) -> Outcome:
    """Hang, or die as of a fault in a decoder, if the file's name says so; else convert it."""
    if "hang" in source.files[0].name:
        time.sleep(600)
    if "crash" in source.files[0].name:
        os.kill(os.getpid(), signal.SIGSEGV)
    return convert_source(source, folder, resample=resample)
