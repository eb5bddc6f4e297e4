"""Building a task: a damaged case is as good as absent, and told of at the site alone."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from end_to_end import tiny
from fedswin.data.datalist import Site, read_site
from fedswin.errors import FedSwinError
from fedswin.tasks import build_task

CPU = torch.device("cpu")
CLASSES = {"segmentation": {"classes": {"lump": 1, "node": 2}, "overlap": 0.0}}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Three cases for training, the first of them damaged and annotated unlike the others, and one for validation."""
    site = read_site(tiny.write_sites(tmp_path, {"a": 3}) / "a")
    first, *others = site.cases("training")
    first.image.write_bytes(first.image.read_bytes()[:-300])
    of_lumps = [replace(case, annotation=replace(case.annotation, annotated=("lump",))) for case in others]
    return replace(site, splits={**site.splits, "training": [first, *of_lumps]})


def without_the_first(site: Site) -> Site:
    return replace(site, splits={**site.splits, "training": site.cases("training")[1:]})


@pytest.mark.parametrize("content", [tiny.PRETRAIN, {**tiny.FINETUNE, **CLASSES}], ids=["pretrain", "finetune"])
def test_a_task_with_a_damaged_case_draws_what_it_would_draw_without(site: Site, content: dict[str, Any]) -> None:
    job = tiny.job(content)
    found, expected = build_task(job, site, CPU), build_task(job, without_the_first(site), CPU)
    assert (found.training_cases, found.validation_cases) == (2, 1)
    for step in range(2):  # an epoch
        torch.testing.assert_close(found.batch(step), expected.batch(step), rtol=0, atol=0)


def test_what_was_annotated_stays_with_its_case(site: Site) -> None:
    task = build_task(tiny.job({**tiny.FINETUNE, **CLASSES}), site, CPU)
    assert [task.batch(step).annotated for step in range(2)] == [[(1,)], [(1,)]]


def test_a_damaged_case_is_named_in_the_site_s_log_and_progress(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    build_task(tiny.job(tiny.FINETUNE), site, CPU, told.append)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("a/images/case0.nii.gz: cannot be read as NIfTI")
    assert record.getMessage() in told
    assert [text for text in told if "case 1 of" in text] == [
        "checked case 1 of 4",
        "read case 1 of 2",
        "read case 1 of 1",
    ]


def test_with_more_damaged_cases_than_allowed_a_task_is_refused(site: Site) -> None:
    with pytest.raises(FedSwinError, match="a/images/case0.nii.gz: cannot be read"):
        build_task(tiny.job({**tiny.FINETUNE, "data": {**tiny.FINETUNE["data"], "max_bad_cases": 0}}), site, CPU)


def test_a_file_that_goes_while_the_study_runs_is_not_skipped(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would change the order of all cases that follow."""
    monkeypatch.setenv("FEDSWIN_CACHE", str(site.folder / "cache"))
    job = tiny.job({**tiny.PRETRAIN, "data": {**tiny.PRETRAIN["data"], "cache": "disk"}})
    task = build_task(job, site, CPU)
    shutil.rmtree(site.folder / "cache")
    with pytest.raises(FedSwinError, match="is gone while it was in use"):
        task.batch(0)
