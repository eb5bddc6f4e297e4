"""The run folder: the best model, and files that outlive writers and full disks."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.provenance import read_provenance, write_provenance
from fedswin.records import METRICS, read_records, round_record
from fedswin.run_folder import RunFolder, delete_runs, refuse_run, start_run
from fedswin.run_lock import LOCK, lock_run
from fedswin.weights.file import Weights, load_weights
from full_disk import fill_up
from learning import AT_CHANCE, COLLAPSED, GOOD, learning_record

JOB = tiny.job(tiny.PRETRAIN)


def site(cases: int, **metrics: float | None) -> dict[str, object]:
    return {"metrics": metrics, "validation_cases": cases}


def model(number: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([number])}


def score(loss: float | None, status: str = "ok") -> dict[str, Any]:
    return {"status": status, "sites": {"a": site(2, loss=loss), "b": site(1, loss=loss)}}


def close_rounds(run: RunFolder, losses: dict[int, float | None]) -> None:
    for number, loss in losses.items():
        run.close_round(round_record(number, **score(loss)), model(number))


def best(folder: Path) -> Weights:
    return load_weights(folder / "global" / "best.pt")


def rounds(folder: Path) -> list[int]:
    return [record["round"] for record in read_records(folder)]


def test_the_best_model_comes_with_the_scores_that_it_was_chosen_for(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, JOB)
    close_rounds(run, {0: 3.0, 1: 1.0, 2: 2.0})
    run.close_round(round_record(3, **score(0.0, "failed")), model(3))
    found = best(tmp_path)
    assert found.tensors["w"].tolist() == [1]
    about = {key: found.provenance[key] for key in ("round", "global", "sites")}
    assert about == {"round": 1, "global": {"loss": 1.0}, "sites": score(1.0)["sites"]}


def test_a_comparison_without_all_sites_is_told_to_the_caller(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, JOB)
    assert run.close_round(round_record(0, **score(2.0)), model(0)) is None
    note = run.close_round(round_record(1, "ok", {"b": site(1, loss=1.0)}), model(1))
    assert note == "Compared on the sites that scored both global model 1 and the best one so far, 0: b."


def test_a_best_model_whose_record_is_lost_stays_the_best(tmp_path: Path) -> None:
    """The process is killed after it has written best.pt and before it writes the record."""
    close_rounds(RunFolder(tmp_path, JOB), {0: 3.0, 1: 1.0})
    records = tmp_path / METRICS
    records.write_text(records.read_text().splitlines(keepends=True)[0])
    before = best(tmp_path).provenance
    resumed = RunFolder(tmp_path, JOB, first_round=1)
    resumed.close_round(round_record(1, **score(1.0)), model(99))  # 99 would show that it was written again
    resumed.close_round(round_record(2, **score(2.0)), model(2))
    assert best(tmp_path).provenance == before
    assert best(tmp_path).tensors["w"].tolist() == [1]
    close_rounds(resumed, {3: 0.5})
    assert best(tmp_path).provenance["round"] == 3
    assert rounds(tmp_path) == [0, 1, 2, 3]


def test_a_resumed_study_counts_the_rounds_without_gain_from_its_records(tmp_path: Path) -> None:
    close_rounds(RunFolder(tmp_path, JOB), {0: 3.0, 1: 1.0, 2: 2.0, 3: 2.0, 4: 2.0})
    assert RunFolder(tmp_path, JOB, first_round=4).selection.without_gain == 2


def test_resuming_removes_a_torn_line_and_writes_on_after_the_last_whole_one(tmp_path: Path) -> None:
    close_rounds(RunFolder(tmp_path, JOB), {0: 3.0, 1: 2.0})
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"round": 2, "sta')
    close_rounds(RunFolder(tmp_path, JOB, first_round=2), {2: 1.0})
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [0, 1, 2]


def test_a_record_for_which_the_disk_is_full_is_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path, JOB)
    close_rounds(run, {0: 3.0})
    for full in ("best.pt.partial", METRICS):
        fill_up(monkeypatch, full)
        with pytest.raises(OSError, match="No space left"):
            close_rounds(run, {1: 2.0})
        assert rounds(tmp_path) == [0]
        monkeypatch.undo()
    close_rounds(run, {1: 2.0})
    assert rounds(tmp_path) == [0, 1]
    assert best(tmp_path).provenance["round"] == 1


def test_records_survive_a_disk_that_fills_up_while_they_are_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_rounds(RunFolder(tmp_path, JOB), {0: 3.0, 1: 2.0})
    fill_up(monkeypatch, f"{METRICS}.partial")
    with pytest.raises(OSError, match="No space left"):
        RunFolder(tmp_path, JOB, first_round=1)
    assert rounds(tmp_path) == [0, 1]


def test_curves_that_cannot_be_drawn_cost_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    close_rounds(RunFolder(tmp_path, JOB), {0: 3.0, 1: 2.0})
    assert rounds(tmp_path) == [0, 1]
    assert caplog.text.count("the curves cannot be written ([Errno 28] No space left on device)") == 1


def test_provenance_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_provenance(tmp_path, JOB, "train", finished=False)
    fill_up(monkeypatch, "provenance.json.partial")
    with pytest.raises(OSError, match="No space left"):
        write_provenance(tmp_path, JOB, "train", finished=True)
    assert json.loads((tmp_path / "provenance.json").read_text())["finished"] is False


def written_run(folder: Path) -> Path:
    with lock_run(folder):
        start_run(folder, JOB)
        close_rounds(RunFolder(folder, JOB), {0: 1.0})
    return folder


def test_a_run_starts_in_an_empty_folder_and_keeps_its_lock(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / "link").symlink_to(outside)
    with lock_run(run) as lock:
        start_run(run, JOB)
        assert {path.name for path in run.iterdir()} == {"job.yaml", LOCK}
        assert os.path.samestat(os.fstat(lock.fileno()), (run / LOCK).stat())
    assert outside.exists()


def test_a_run_that_is_being_written_is_not_replaced(tmp_path: Path) -> None:
    """Neither by itself nor with the folder that it is in, and what lies beside it stays, too."""
    runs = [written_run(tmp_path / name) for name in ("a", "b")]
    refused = pytest.raises(FedSwinError, match=f"{runs[1]} is being written by process {os.getpid()}")
    with lock_run(runs[1]):
        for out in (runs[1], tmp_path):
            with refused:
                refuse_run(out, overwrite=True)
            with refused:
                delete_runs(out)
        with refused:
            start_run(runs[1].parent, JOB)
    assert rounds(runs[1]) == [0]
    refuse_run(tmp_path, overwrite=True)
    delete_runs(tmp_path)
    assert not tmp_path.exists()


def test_a_folder_with_nothing_but_a_lock_may_become_a_run(tmp_path: Path) -> None:
    """It is what a writer leaves that dies before it has written the job."""
    with lock_run(tmp_path):
        pass
    refuse_run(tmp_path, overwrite=True)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FedSwinError, match="something other than a run"):
        refuse_run(tmp_path, overwrite=True)


@pytest.mark.parametrize(("found", "verdict"), [({}, "learns"), (AT_CHANCE, "at chance"), (COLLAPSED, "collapsed")])
def test_a_pre_training_model_says_for_ever_whether_it_learns(
    tmp_path: Path, found: dict[str, float], verdict: str
) -> None:
    run = RunFolder(tmp_path, JOB)
    run.close_round(learning_record(0, loss=9.0, **AT_CHANCE), model(0))
    assert set(read_provenance(tmp_path)["learning"]) == {"best"}, "there is no last.pt yet"
    run.save_last(model(1), 1)
    assert "learning" not in load_weights(tmp_path / "global" / "last.pt").provenance, "it has not been scored"
    run.close_round(learning_record(1, **found), model(1))
    noted = read_provenance(tmp_path)["learning"]
    for name in ("best", "last"):
        written = load_weights(tmp_path / "global" / f"{name}.pt")
        assert written.provenance["learning"] == noted[name]
        assert written.digest == Weights(model(1), JOB).digest
        assert noted[name]["round"] == written.provenance["round"] == 1
        assert noted[name]["verdict"] == verdict
        assert noted[name]["patients"] == 6
        assert noted[name]["feature_spread"] == {**GOOD, **found}["feature_spread"]
    run.save_last(model(2), 2)
    run.close_round({**learning_record(2, loss=0.0), "status": "failed", "sites": {}}, model(2))
    assert read_provenance(tmp_path)["learning"] == noted, "a failed round made no other model"


def test_a_resumed_study_still_knows_whether_its_best_model_learns(tmp_path: Path) -> None:
    RunFolder(tmp_path, JOB).close_round(learning_record(0, **AT_CHANCE), model(0))
    before = read_provenance(tmp_path)["learning"]
    (tmp_path / "provenance.json").write_text("{}")  # the process was killed before it noted it
    RunFolder(tmp_path, JOB, first_round=1).close_round(learning_record(1, loss=5.0), model(1))
    assert read_provenance(tmp_path)["learning"] == before


def test_a_model_without_the_diagnostics_says_nothing_of_them(tmp_path: Path) -> None:
    close_rounds(RunFolder(tmp_path, JOB), {0: 3.0, 1: 2.0})
    assert "learning" not in read_provenance(tmp_path)
    assert "learning" not in best(tmp_path).provenance
