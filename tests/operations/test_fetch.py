"""Fetching: what becomes of the server's folder of a job, and what is said of a job that has none."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import torch

from fedswin.checksum import SUMS, write_sums
from fedswin.config import Job, parse_job
from fedswin.errors import FedSwinError
from fedswin.federation.curves import SHARED_PART
from fedswin.operations import fetch as module
from fedswin.operations.admin import Federation
from fedswin.operations.fetch import SERVER_LOG, arrange_run, fetch
from fedswin.outcome import Outcome, write_outcome
from fedswin.provenance import update_provenance
from fedswin.records import read_records, round_record
from fedswin.run_folder import RunFolder, describe_run
from fedswin.weights.file import load_weights

LOG = """\
10:00 - Study - INFO - fine
10:01 - Study - ERROR - [identity=study, run=1, wf=study] - the disk is full
Traceback (most recent call last):
OSError: no space left
"""


def job(rounds: int = 1) -> Job:
    return parse_job({"name": "tiny", "task": "pretrain", "federation": {"rounds": rounds}}, "test")


def workspace(folder: Path, rounds: int = 1) -> Path:
    """What the server leaves of a study that has done ``rounds`` rounds of 1."""
    study, tensors, shared = job(), {"weight": torch.ones(2)}, folder / SHARED_PART
    run = RunFolder(shared, study)
    for number in range(rounds + 1):
        sites = {name: {"metrics": {"loss": 1.0}, "validation_cases": 1} for name in ("b", "a")}
        run.save_last(tensors, number)
        run.close_round(round_record(number, "ok", sites), tensors)
    describe_run(shared, study, "submit", handover="all new", sites={"a": {}, "b": {}})
    if rounds == study.federation.rounds:
        write_outcome(shared, Outcome("completed", rounds, "All rounds are done."))
    write_sums(shared)
    (folder / "log.txt").write_text(LOG)
    return folder


class FakeFederation:
    """Stands in for the session; ``status`` is the job's, ``result`` what a download gives."""

    status = "FINISHED:COMPLETED"
    rounds = 1
    detail: tuple[str, ...] = ()

    def __init__(self, kit: Path) -> None: ...

    def __enter__(self) -> FakeFederation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def job(self, job_id: str) -> dict[str, Any]:
        return {"status": self.status, "job_deploy_detail": self.detail}

    def wait(self, job_id: str, timeout: float | None = None) -> dict[str, Any]:
        return {"status": "FINISHED:COMPLETED"}

    def log(self, job_id: str) -> str:
        return LOG

    def download(self, job_id: str, folder: Path) -> Path:
        workspace(folder / job_id / "workspace", self.rounds)
        return folder / job_id


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[FakeFederation]:
    class Server(FakeFederation):
        pass

    monkeypatch.setattr(module, "Federation", Server)
    return Server


def test_the_shared_part_of_a_run_folder(tmp_path: Path, server: type[FakeFederation]) -> None:
    out = tmp_path / "runs" / "run"
    fetch("id", tmp_path, out)
    assert {path.name for path in out.iterdir()} == {
        "job.yaml", "provenance.json", "metrics.jsonl", "outcome.json", "global", "tensorboard", "nvflare",
    }  # fmt: skip
    assert [record["round"] for record in read_records(out)] == [0, 1]
    assert load_weights(out / "global" / "last.pt").job == job()
    assert load_weights(out / "global" / "best.pt").provenance["round"] == 0
    assert (out / SERVER_LOG).read_text() == LOG
    about = json.loads((out / "provenance.json").read_text())
    assert (about["command"], about["job_id"], about["sites"], about["handover"], about["finished"]) == (
        "submit", "id", {"a": {}, "b": {}}, "all new", True,
    )  # fmt: skip
    assert [path.name for path in out.parent.iterdir()] == ["run"]


def test_provenance_tells_the_versions_that_trained_and_not_those_that_fetched(tmp_path: Path) -> None:
    source = workspace(tmp_path / "workspace")
    update_provenance(source / SHARED_PART, versions={"torch": "1.0"})
    write_sums(source / SHARED_PART)
    (tmp_path / "run").mkdir()
    arrange_run("id", source, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["versions"] == {"torch": "1.0"}


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"x"), Path.unlink])
def test_what_arrives_damaged_is_no_run(
    tmp_path: Path, server: type[FakeFederation], monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    def download(self: FakeFederation, job_id: str, folder: Path) -> Path:
        change(workspace(folder / job_id / "workspace") / SHARED_PART / "global" / "last.pt")
        return folder / job_id

    monkeypatch.setattr(server, "download", download)
    with pytest.raises(FedSwinError, match=r"damaged: global/last\.pt\. Fetch it again"):
        fetch("id", tmp_path, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_list_of_checksums_is_one_that_sha256sum_reads(tmp_path: Path) -> None:
    shared = workspace(tmp_path) / SHARED_PART
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=shared, check=True)


def test_a_job_that_goes_on_is_not_fetched_unless_waited_for(tmp_path: Path, server: type[FakeFederation]) -> None:
    server.status = "RUNNING"
    with pytest.raises(FedSwinError, match=r"Job id is running\. .*add --wait"):
        fetch("id", tmp_path, tmp_path / "run")
    assert not list(tmp_path.iterdir())
    fetch("id", tmp_path, tmp_path / "run", wait=True)
    assert (tmp_path / "run" / "job.yaml").exists()


def test_a_failed_job_is_told_with_its_state_and_last_errors(tmp_path: Path, server: type[FakeFederation]) -> None:
    server.status, server.rounds = "FINISHED:EXECUTION_EXCEPTION", -1
    with pytest.raises(FedSwinError) as raised:
        fetch("id", tmp_path, tmp_path / "run")
    assert str(raised.value).startswith("Job id failed: FINISHED:EXECUTION_EXCEPTION.")
    assert str(raised.value).endswith("last errors: the disk is full | OSError: no space left")
    assert not list(tmp_path.iterdir())


def test_a_job_that_a_site_did_not_take_is_told_with_the_sites_answer(
    tmp_path: Path, server: type[FakeFederation]
) -> None:
    server.status, server.detail = "FINISHED:FAILED_TO_RUN", ("server: OK", "a: no reply", "b: OK")
    server.rounds = -1
    with pytest.raises(FedSwinError, match=r"FAILED_TO_RUN\. Not everybody took the job: a: no reply\."):
        fetch("id", tmp_path, tmp_path / "run")


@pytest.mark.parametrize("status", ["FINISHED:COMPLETED", "FINISHED:ABORTED"])
def test_of_a_study_that_is_not_finished_all_there_is_is_fetched_and_said(
    tmp_path: Path, server: type[FakeFederation], status: str
) -> None:
    server.status, server.rounds = status, 0
    with pytest.raises(FedSwinError, match=r"unfinished study\. It was cut off.*submit JOB --resume id'"):
        fetch("id", tmp_path, tmp_path / "run")
    assert len(read_records(tmp_path / "run")) == 1
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["finished"] is False


def test_what_exists_is_refused_before_the_server_is_asked(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with pytest.raises(FedSwinError, match="exists"):
        fetch("id", tmp_path / "no kit", out)


def test_an_earlier_run_is_replaced_when_asked(tmp_path: Path, server: type[FakeFederation]) -> None:
    out = tmp_path / "run"
    for old in (out / "job.yaml", out / "global" / "old.pt"):
        old.parent.mkdir(parents=True, exist_ok=True)
        old.touch()
    fetch("id", tmp_path, out, overwrite=True)
    assert not (out / "global" / "old.pt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_waiting_ends_with_the_time_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = tmp_path / "startup"
    kit.mkdir()
    about = {"admin": {"username": "me@x.org", "host": "localhost", "port": 1}}
    (kit / "fed_admin.json").write_text(json.dumps(about))
    monkeypatch.setattr(Federation, "job", lambda *_: {"status": "RUNNING"})
    with pytest.raises(FedSwinError, match="Job id is running, 0 s after"):
        Federation(tmp_path).wait("id", timeout=0)
