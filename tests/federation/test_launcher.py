"""The death of a job's process at a site is not reported as a failure of the job."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.utils import new_cell_message
from nvflare.private.fed.client.client_executor import REPORTABLE_JOB_FAILURES

from fedswin.federation import launcher
from fedswin.federation.launcher import SiteLauncher


def ended(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code])
    process.wait()
    return process


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", JobReturnCode.SUCCESS),
        ("raise SystemExit(1)", JobReturnCode.UNKNOWN),
        (f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})", JobReturnCode.UNKNOWN),
        ("raise SystemExit(9)", JobReturnCode.ABORTED),
    ],
)
def test_only_an_end_that_was_ordered_is_told(monkeypatch, code, expected):
    monkeypatch.setattr(ClientProcessJobLauncher, "launch_job", lambda *_: ProcessHandle(process=ended(code)))
    assert SiteLauncher().launch_job({"job_id": "1"}, None).poll() == expected


class Cell:
    """Takes requests as NVFlare's does, and answers from a list."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.targets: list[str] = []

    def send_request(self, channel, topic, target, request, timeout, optional):
        self.targets.append(f"{channel}/{topic} to {target}")
        return new_cell_message({MessageHeaderKey.RETURN_CODE: self.codes.pop(0)})


def end_of_job(cell: Cell, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a job's process run ``code`` and end, as NVFlare's executor of jobs sees it, and wait for what follows."""
    monkeypatch.setattr(ClientProcessJobLauncher, "launch_job", lambda *_: ProcessHandle(process=ended(code)))
    monkeypatch.setattr(launcher, "_TRY_SECONDS", 0.01)
    site, fl_ctx = SiteLauncher(), FLContext()
    site.launch_job({"job_id": "7"}, fl_ctx).poll()
    fl_ctx.set_prop(FLContextKey.CURRENT_JOB_ID, "7")
    fl_ctx.set_prop(ReservedKey.ENGINE, SimpleNamespace(get_cell=lambda: cell), private=True)
    site.handle_event(EventType.JOB_COMPLETED, fl_ctx)
    for thread in threading.enumerate():
        if thread.name == "lost":
            thread.join()


def test_the_servers_process_of_the_job_is_told_of_a_death_until_it_hears(monkeypatch):
    cell = Cell(ReturnCode.TARGET_UNREACHABLE, ReturnCode.TIMEOUT, ReturnCode.OK)
    end_of_job(cell, "raise SystemExit(1)", monkeypatch)
    assert cell.targets == ["fedswin/lost to server.7"] * 3


def test_a_good_end_is_not_told(monkeypatch):
    cell = Cell()
    end_of_job(cell, "pass", monkeypatch)
    assert cell.targets == []


def test_unknown_is_what_nvflare_does_not_report():
    assert JobReturnCode.UNKNOWN not in REPORTABLE_JOB_FAILURES
