"""What a kit keeps of its studies: listed, and deleted only when nobody is at work on it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.operations.studies import delete_studies, list_studies
from fedswin.run_lock import lock_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two studies: ``old`` was last used ten days ago."""
    for name, days in (("old", 10), ("new", 0)):
        study = tmp_path / "studies" / name
        (study / "state").mkdir(parents=True)
        (study / "job.yaml").write_text(tiny.job(tiny.PRETRAIN).to_yaml())
        (study / "state" / "000001.pt").write_bytes(b"x" * 1000)
        used = time.time() - days * 86400
        for path in (study / "job.yaml", study / "state" / "000001.pt"):
            os.utime(path, (used, used))
    (tmp_path / "studies" / "something else").mkdir()
    return tmp_path / "studies"


def test_the_study_used_last_comes_first(folder: Path) -> None:
    studies = list_studies(folder)
    assert [study.id for study in studies] == ["new", "old"]
    assert studies[1].idle_days == pytest.approx(10, abs=0.1)
    assert studies[0].job == "tiny_pretrain"
    assert studies[0].size > 1000


def test_a_study_is_deleted_by_its_id(folder: Path) -> None:
    delete_studies(folder, ["old"])
    assert [study.id for study in list_studies(folder)] == ["new"]
    assert (folder / "something else").exists()


def test_an_id_that_is_not_there_deletes_nothing(folder: Path) -> None:
    with pytest.raises(FedSwinError, match="holds no study olt .did you mean 'old'"):
        delete_studies(folder, ["new", "olt"])
    assert len(list_studies(folder)) == 2


def test_a_study_that_is_under_way_is_not_deleted(folder: Path) -> None:
    with lock_run(folder / "new"), pytest.raises(FedSwinError, match="is being written by process"):
        delete_studies(folder, ["new"])
    assert len(list_studies(folder)) == 2
