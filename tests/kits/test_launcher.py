"""The death of a job's process at a site is not reported as a failure of the job."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from types import SimpleNamespace

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.apis.utils.event import fire_event_to_components
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.utils import new_cell_message
from nvflare.private.fed.app.utils import component_security_check
from nvflare.private.fed.client.client_executor import REPORTABLE_JOB_FAILURES

from fedswin.kits import launcher
from fedswin.kits.launcher import ServerLauncher, SiteLauncher

JOB = "7"


@pytest.fixture
def fl_ctx(tmp_path):
    """The context of a site whose job ``JOB`` brings no code, unless a test puts some there."""
    context = FLContext()
    workspace = SimpleNamespace(get_app_custom_dir=lambda job: str(tmp_path / job) if (tmp_path / job).exists() else "")
    context.set_prop(FLContextKey.WORKSPACE_OBJECT, workspace, private=True)
    context.set_prop(FLContextKey.CURRENT_JOB_ID, JOB)
    return context


def run(code: str, fl_ctx: FLContext, monkeypatch: pytest.MonkeyPatch) -> tuple[SiteLauncher, ProcessHandle]:
    """Launch a job whose process runs ``code``, and wait until it has ended."""
    monkeypatch.setattr(SiteLauncher, "get_command", lambda *_: shlex.join([sys.executable, "-c", code]))
    site = SiteLauncher()
    handle = site.launch_job({"job_id": JOB}, fl_ctx)
    handle.wait()
    return site, handle


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", JobReturnCode.SUCCESS),
        ("raise SystemExit(1)", JobReturnCode.UNKNOWN),
        (f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})", JobReturnCode.UNKNOWN),
        ("raise SystemExit(9)", JobReturnCode.ABORTED),
    ],
)
def test_only_an_end_that_was_ordered_is_told(fl_ctx, monkeypatch, code, expected):
    assert run(code, fl_ctx, monkeypatch)[1].poll() == expected


def test_code_that_a_job_brings_goes_before_what_is_installed(fl_ctx, monkeypatch, tmp_path):
    check = "import fedswin; raise SystemExit(fedswin.__version__ == 'shipped')"
    assert run(check, fl_ctx, monkeypatch)[1].poll() == JobReturnCode.SUCCESS
    (tmp_path / JOB / "fedswin").mkdir(parents=True)
    (tmp_path / JOB / "fedswin" / "__init__.py").write_text("__version__ = 'shipped'")
    assert run(check, fl_ctx, monkeypatch)[1].poll() == JobReturnCode.UNKNOWN


@pytest.mark.parametrize("kind", [SiteLauncher, ServerLauncher])
def test_a_kit_that_was_altered_is_refused_in_the_way_that_ends_nvflares_process(tmp_path, kind):
    (tmp_path / "startup").mkdir()
    context, workspace = FLContext(), SimpleNamespace(get_startup_kit_dir=lambda: str(tmp_path / "startup"))
    context.set_prop(FLContextKey.WORKSPACE_OBJECT, workspace, private=True)
    fire_event_to_components(EventType.SYSTEM_BOOTSTRAP, [kind()], context)
    with pytest.raises(RuntimeError, match="cannot read the kit's manifest"):
        component_security_check(context)


class Cell:
    """Takes requests as NVFlare's does, and answers from a list."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.targets: list[str] = []

    def send_request(self, channel, topic, target, request, timeout, optional):
        self.targets.append(f"{channel}/{topic} to {target}")
        return new_cell_message({MessageHeaderKey.RETURN_CODE: self.codes.pop(0)})


def end_of_job(cell: Cell, code: str, fl_ctx: FLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a job's process run ``code`` and end, as NVFlare's executor of jobs sees it, and wait for what follows."""
    monkeypatch.setattr(launcher, "_TRY_SECONDS", 0.01)
    site, handle = run(code, fl_ctx, monkeypatch)
    handle.poll()
    fl_ctx.set_prop(ReservedKey.ENGINE, SimpleNamespace(get_cell=lambda: cell), private=True)
    site.handle_event(EventType.JOB_COMPLETED, fl_ctx)
    for thread in threading.enumerate():
        if thread.name == "lost":
            thread.join()


def test_the_servers_process_of_the_job_is_told_of_a_death_until_it_hears(fl_ctx, monkeypatch):
    cell = Cell(ReturnCode.TARGET_UNREACHABLE, ReturnCode.TIMEOUT, ReturnCode.OK)
    end_of_job(cell, "raise SystemExit(1)", fl_ctx, monkeypatch)
    assert cell.targets == ["fedswin/lost to server.7"] * 3


def test_a_good_end_is_not_told(fl_ctx, monkeypatch):
    cell = Cell()
    end_of_job(cell, "pass", fl_ctx, monkeypatch)
    assert cell.targets == []


def test_unknown_is_what_nvflare_does_not_report():
    assert JobReturnCode.UNKNOWN not in REPORTABLE_JOB_FAILURES
