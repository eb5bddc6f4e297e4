"""What a run says of its origin: known words alone, complete, and true of the files beside it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch

import fedswin
from end_to_end import tiny
from fedswin import code_version as module
from fedswin import provenance
from fedswin.code_version import code_version
from fedswin.errors import FedSwinError
from fedswin.provenance import PROVENANCE, holdings, read_provenance, update_provenance, write_provenance
from fedswin.records import round_record
from fedswin.run_folder import RunFolder, describe_run
from fedswin.weights.file import load_weights

JOB = tiny.job(tiny.FINETUNE)
SITES = {name: {"weight": 3, "metrics": {"dice": 0.5}, "validation_cases": 1} for name in ("a", "b")}


def run_of(folder: Path, rounds: int, first: int = 0) -> RunFolder:
    run = RunFolder(folder, JOB, first_round=first)
    for number in range(first, rounds + 1):
        tensors = {"w": torch.full((2,), float(number))}
        run.save_last(tensors, number)
        refused = [{"site": "b", "reason": "a NaN"}] if number == 1 else []
        sites = {"a": SITES["a"]} if number == 1 else SITES
        status = "ok" if number else "initial"
        run.close_round(round_record(number, status, sites, refused=refused, missing=["c"]), tensors)
    return run


def test_who_took_part_in_each_round_and_which_models_came_of_it(tmp_path: Path) -> None:
    run_of(tmp_path, 2)
    found = read_provenance(tmp_path)
    assert found["rounds"] == [
        {"round": 1, "answered": ["a"], "refused": ["b"], "late": [], "missing": ["c"]},
        {"round": 2, "answered": ["a", "b"], "refused": [], "late": [], "missing": ["c"]},
    ]
    for name, number in (("best", 0), ("last", 2)):
        weights = load_weights(tmp_path / "global" / f"{name}.pt")
        assert found["models"][name] == {"round": number, "sha256": weights.digest}
        assert weights.provenance["code"] == code_version()


def test_a_resumed_run_lists_every_round_once(tmp_path: Path) -> None:
    run_of(tmp_path, 2)
    run_of(tmp_path, 3, first=2)
    assert [entry["round"] for entry in read_provenance(tmp_path)["rounds"]] == [1, 2, 3]


def test_a_process_stopped_between_a_model_and_its_note_leaves_no_wrong_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(tmp_path, 1)
    better = {"a": {**SITES["a"], "metrics": {"dice": 0.9}}}
    run = RunFolder(tmp_path, JOB, first_round=2)
    with monkeypatch.context() as stopped:
        stopped.setattr(RunFolder, "_note_model", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.close_round(round_record(2, "ok", better), {"w": torch.ones(3)})
    RunFolder(tmp_path, JOB, first_round=2)
    best = load_weights(tmp_path / "global" / "best.pt")
    assert read_provenance(tmp_path)["models"]["best"] == {"round": 2, "sha256": best.digest}


def test_other_software_that_goes_on_with_a_study_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_provenance(tmp_path, JOB, "train")
    run_of(tmp_path, 1)
    assert "continued" not in read_provenance(tmp_path)
    newer = {**code_version(), "version": "9.9"}
    monkeypatch.setattr(provenance, "code_version", lambda: newer)
    for _ in range(2):
        run_of(tmp_path, 2, first=1)
    [entry] = read_provenance(tmp_path)["continued"]
    assert (entry["first_round"], entry["code"]) == (1, newer)
    assert read_provenance(tmp_path)["code"] == code_version()


def test_damaged_provenance_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / PROVENANCE).write_text('{"command": "tra')
    with pytest.raises(FedSwinError, match="provenance.json is damaged"):
        read_provenance(tmp_path)


def test_a_run_is_described_once_and_keeps_what_has_been_noted(tmp_path: Path) -> None:
    update_provenance(tmp_path, models={"last": {}})
    describe_run(tmp_path, JOB, "submit", parent=None)
    update_provenance(tmp_path, finished=True)
    describe_run(tmp_path, JOB, "train", parent={"file_sha256": "0"})
    found = read_provenance(tmp_path)
    assert (found["command"], found["parent"], found["finished"]) == ("submit", None, True)
    assert found["models"] == {"last": {}}
    assert found["job_sha256"] == JOB.digest
    assert found["seeds"] == {"job": JOB.seed}


def test_of_a_site_known_numbers_and_words_are_recorded_alone() -> None:
    told = {
        "cases": 5,
        "validation_cases": "two",
        "labels": {"lump": 4, "Mueller": 1},
        "regions": ["abdomen", "Hans"],
        "folder": "/data",
    }
    assert holdings(JOB, told) == {
        "cases": {"training": 5, "validation": 0},
        "labels": {"lump": 4},
        "regions": ["abdomen"],
    }
    assert holdings(JOB, {"labels": 3, "regions": None})["labels"] == {}
    assert holdings(JOB, {"cases": -7, "validation_cases": True})["cases"] == {"training": 0, "validation": 0}


def test_the_code_is_named_by_version_source_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "fedswin"
    package.mkdir()
    (package / "__init__.py").write_bytes(b"x = 1\n")
    monkeypatch.setattr(module, "_PACKAGE", package)
    source = hashlib.sha256(b"__init__.py 6\nx = 1\n").hexdigest()
    ask = module.code_version.__wrapped__
    assert ask() == {"version": fedswin.__version__, "sha256": source, "commit": None}

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    assert ask()["commit"] is None  # a checkout of something else, such as the one that a venv lies in
    git("add", ".")
    git("commit", "-qm", "first")
    assert ask()["commit"] == git("rev-parse", "HEAD").strip()
    (package / "__init__.py").write_bytes(b"x = 2\n")
    assert ask()["commit"] == git("rev-parse", "HEAD").strip() + "-dirty"


def test_it_is_json_for_everybody(tmp_path: Path) -> None:
    write_provenance(tmp_path, JOB, "train", sites={"a": {}})
    assert json.loads((tmp_path / PROVENANCE).read_text())["sites"] == {"a": {}}
