"""The site's executor: how the trainer runs is the site's business, and of its end the server learns the fact."""

from __future__ import annotations

import inspect
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from nvflare.apis.client import Client
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.shareable import make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.executors.client_api.external_process_backend import ExternalProcessBackend

from fedswin.federation import executor
from fedswin.federation.executor import SiteExecutor, trainer_command
from fedswin.federation.messages import JOB_PROCESS_VARIABLE
from fedswin.federation.site_policy import SITE_POLICY
from fedswin.federation.task_sites import read_answer

GPUS = "CUDA_VISIBLE_DEVICES"


def context(kit: Path, **properties: Any) -> Any:
    """What the executor asks of NVFlare's context at a site."""
    workspace = SimpleNamespace(get_root_dir=lambda: str(kit))
    engine = SimpleNamespace(get_workspace=lambda: workspace)
    return SimpleNamespace(get_prop=lambda key, default=None: properties.get(key, default), get_engine=lambda: engine)


def command(kit: Path) -> list[str]:
    mode = executor._mode(context(kit))
    assert mode["execution_mode"] == "external_process"
    return list(mode["command"])


def test_a_job_can_give_it_nothing() -> None:
    assert list(inspect.signature(SiteExecutor).parameters) == []


@pytest.mark.parametrize(("gpus", "processes"), [(None, 1), ("", 1), ("0", 1), ("2,5", 2), ("GPU-1, GPU-2,GPU-3", 3)])
def test_without_a_policy_a_real_site_has_one_process_for_each_gpu_that_the_job_was_given(
    gpus: str | None, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(GPUS, raising=False)
    if gpus is not None:
        monkeypatch.setenv(GPUS, gpus)
    assert command(tmp_path) == trainer_command(processes)


def test_the_site_s_policy_goes_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GPUS, "0,1")
    (tmp_path / SITE_POLICY).parent.mkdir()
    (tmp_path / SITE_POLICY).write_text(yaml.safe_dump({"processes": 3}))
    assert command(tmp_path) == trainer_command(3)
    simulated = executor._mode(context(tmp_path, **{FLContextKey.SIMULATE_MODE: True}))
    assert simulated["execution_mode"] == "in_process"


def test_the_trainer_loads_no_module_from_the_folder_that_it_is_started_in(tmp_path: Path) -> None:
    """NVFlare starts it in the app's folder, and what is there comes from the job."""
    canary = tmp_path / "canary"
    for name in ("logging", "sitecustomize", "torch", "fedswin", "nvflare"):
        (tmp_path / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')")
    ended = subprocess.run(
        trainer_command(1),
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != JOB_PROCESS_VARIABLE},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert f"KeyError: '{JOB_PROCESS_VARIABLE}'" in ended.stderr  # so it has imported all that it needs
    assert not canary.exists()


def test_a_trainer_that_has_ended_takes_its_site_out_of_the_job() -> None:
    site = SiteExecutor()
    site._client_api = SimpleNamespace(execute=lambda *_: make_reply(ReturnCode.EXECUTION_EXCEPTION))
    answer = read_answer(Client("a", "token"), site.execute("train", make_reply(ReturnCode.OK), None, Signal()))
    assert (answer.error, answer.leaves) == ("its trainer has ended", True)
    assert not answer.metrics


def test_what_the_trainer_answers_is_handed_on_as_it_is() -> None:
    reply, site = make_reply(ReturnCode.TASK_ABORTED), SiteExecutor()
    site._client_api = SimpleNamespace(execute=lambda *_: reply)
    assert site.execute("train", make_reply(ReturnCode.OK), None, Signal()) is reply


def test_the_death_of_a_trainer_that_sends_fails_no_job_as_it_would_in_nvflare() -> None:
    assert ExternalProcessBackend()._claim_result_source_failure()
    assert not executor._TrainerProcess()._claim_result_source_failure()
