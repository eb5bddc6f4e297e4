"""Before a study starts: a site may have a damaged case, which is shown and left out of all that follows."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from end_to_end import tiny
from fedswin.config import Job
from fedswin.data.datalist import Site, read_site
from fedswin.errors import FedSwinError
from fedswin.exporting.export import export
from fedswin.operations.preflight import Plan, plan_initial_state, plan_study
from fedswin.operations.train import pool_sites
from fedswin.pretraining.verdict import judge_record
from fedswin.tasks import training_cases
from fedswin.weights.file import Weights, save_weights
from fedswin.weights.handover import Handover, initial_state
from learning import AT_CHANCE, COLLAPSED, learning_record

JOB = tiny.job(tiny.FINETUNE)


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Two sites whose first training case is damaged."""
    tiny.write_sites(tmp_path, {"a": 3, "b": 2})
    for name in "ab":
        damage(read_site(tmp_path / name), 0)
    return tmp_path


def damage(site: Site, number: int) -> None:
    site.cases("training")[number].image.write_text("this is no NIfTI")


def plan(data: Path, job: Job = JOB, *, strict: bool = False) -> tuple[Plan, str]:
    """Return the plan, and what a person is shown."""
    console = Console(file=io.StringIO(), width=1000)
    return plan_study(job, data, None, strict=strict, console=console), console.file.getvalue()


def test_a_study_is_planned_without_a_site_s_damaged_case_which_is_shown(sites: Path) -> None:
    found, shown = plan(sites)
    assert {site.name: training_cases(JOB, site) for site in found.sites} == {"a": 2, "b": 1}
    for name in "ab":
        [line] = [line for line in shown.splitlines() if line.startswith(f"Warning: {name}/images/case0.nii.gz: ")]
        assert line.endswith("Until then the case will be skipped.")


def test_pooled_sites_may_have_one_damaged_case_each(sites: Path) -> None:
    found, _ = plan(sites)
    assert training_cases(JOB, pool_sites(found.sites)) == 3


def test_two_damaged_cases_of_a_site_stop_the_study(sites: Path) -> None:
    damage(read_site(sites / "a"), 1)
    with pytest.raises(FedSwinError, match="a: too many cases cannot be used: 2, and data.max_bad_cases is 1"):
        plan(sites)


def test_strict_takes_no_damaged_case(sites: Path) -> None:
    with pytest.raises(FedSwinError, match="a/images/case0.nii.gz: cannot be read as NIfTI"):
        plan(sites, strict=True)


def test_a_site_s_name_is_one_that_a_federation_takes(tmp_path: Path) -> None:
    tiny.write_sites(tmp_path, {"north.east": 2})
    for data in (tmp_path, tmp_path / "north.east"):
        with pytest.raises(FedSwinError, match=r"'north\.east' cannot be a site's name. Rename the folder: letters"):
            plan(data)


def weights_of(path: Path, **provenance: Any) -> Path:
    job = tiny.job(tiny.PRETRAIN)
    save_weights(path, Weights(initial_state(job).tensors, job, provenance))
    return path


def learning(**changes: float) -> dict[str, Any]:
    found = judge_record(tiny.job(tiny.PRETRAIN), learning_record(3, **changes))
    assert found
    return found.as_dict()


def start(init: Path, *, strict: bool = False) -> tuple[Handover, str]:
    console = Console(file=io.StringIO(), width=1000)
    return plan_initial_state(JOB, init, console, strict=strict), console.file.getvalue()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (AT_CHANCE, "this encoder was at chance: rotation 0.25 (chance 0.25), contrastive 1.00 of chance, "),
        (COLLAPSED, "this encoder had collapsed: rotation 0.25 (chance 0.25), contrastive 1.00 of chance, "),
    ],
)
@pytest.mark.parametrize("form", ["file", "encoder", "swinvit"])
def test_an_encoder_that_did_not_learn_is_warned_of_and_strict_refuses_it(
    tmp_path: Path, found: dict[str, float], words: str, form: str
) -> None:
    init = weights_of(tmp_path / "model.pt", round=3, learning=learning(**found))
    if form != "file":
        export(init, form, tmp_path / f"{form}.pt")
        init = tmp_path / f"{form}.pt"
    initial, shown = start(init)
    [line] = [line for line in shown.splitlines() if line.startswith("Warning: ")]
    assert line.startswith(f"Warning: {words}")
    assert line.endswith("What to do: jobs/when_pretraining_does_not_learn.md")
    assert initial.provenance()["handover"]["learning"] == learning(**found)
    with pytest.raises(FedSwinError, match=re.escape(f"{init}: {words}")):
        start(init, strict=True)


def test_an_encoder_that_learned_or_that_says_nothing_starts_a_study_without_a_warning(tmp_path: Path) -> None:
    torch.save({"state_dict": initial_state(JOB).tensors, "provenance": "a friend"}, tmp_path / "foreign.pt")
    for init in (
        weights_of(tmp_path / "good.pt", learning=learning()),
        weights_of(tmp_path / "unknown.pt", learning=learning(rotation_accuracy_sd=None)),
        weights_of(tmp_path / "older.pt", round=3),
        weights_of(tmp_path / "odd.pt", learning={"verdict": "at chance", "feature_spread": "<b>"}),
        tmp_path / "foreign.pt",
    ):
        _, shown = start(init, strict=True)
        assert "Hand-over from" in shown
        assert "Warning" not in shown
