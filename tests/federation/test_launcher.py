"""The death of a job's process at a site is not reported as a failure of the job."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle
from nvflare.private.fed.client.client_executor import REPORTABLE_JOB_FAILURES

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
    assert SiteLauncher().launch_job({}, None).poll() == expected


def test_unknown_is_what_nvflare_does_not_report():
    assert JobReturnCode.UNKNOWN not in REPORTABLE_JOB_FAILURES
