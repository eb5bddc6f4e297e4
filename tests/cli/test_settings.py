"""Settings at the command line: what cannot be is named, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.study import FINETUNE, PRETRAIN, Command

BAD_SETTINGS = {
    "unknown key": (["federation.round=3"], "unknown key 'federation.round' (did you mean 'rounds'?)"),
    "unknown section": (["trainr.batch_size=1"], "unknown key 'trainr' (did you mean 'trainer'?)"),
    "roi": (["data.roi=[48,32,32]"], "every side must be a multiple of 32"),
    "small roi": (["data.roi=[32,32,32]"], "segmentation needs at least one side of 64"),
    "site without folder": (["federation.sites=[a,bb]"], "names the site 'bb', but the sites has no such folder"),
    "too few sites": (["federation.min_sites=3"], "2 of 2 sites can take part, and federation.min_sites is 3"),
    "no equals": (["federation.rounds"], "expected section.key=value"),
    "tolerance of no class": (
        ["segmentation.nsd_tolerance={lumps: 2}"],
        "nsd_tolerance names 'lumps', which is no class (did you mean 'lump'?)",
    ),
    "wrong type": (["federation.rounds=many"], "federation.rounds: Input should be a valid integer"),
}


@pytest.mark.parametrize(("settings", "words"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_a_setting_that_cannot_be_is_named(fedswin: Command, settings: Sequence[str], words: str) -> None:
    options = [part for setting in settings for part in ("--set", setting)]
    code, _, error = fedswin("simulate", FINETUNE, "--data", "the sites", "--out", "out", *options)
    assert code == 1
    assert words in error
    assert not Path("out").exists()


def test_a_pretraining_job_without_negatives_or_with_an_oblong_plane_is_refused(fedswin: Command) -> None:
    for setting, words in [("trainer.batch_size=1", "no negatives"), ("data.roi=[64,32,32]", "must be equal")]:
        code, _, error = fedswin("train", PRETRAIN, "--data", "the sites", "--out", "out", "--set", setting)
        assert (code, words in error) == (1, True), error


def test_a_missing_job_file_is_named(fedswin: Command) -> None:
    code, _, error = fedswin("simulate", "none.yaml", "--data", "the sites", "--out", "out")
    assert code == 1
    assert "none.yaml: cannot read the job file" in error


@pytest.mark.parametrize("gpus", ["a", "0,", "-1", "0-1", "1.5"])
def test_what_are_no_numbers_of_gpus_is_named(fedswin: Command, gpus: str) -> None:
    code, _, error = fedswin("simulate", PRETRAIN, "--data", "the sites", "--out", "out", f"--gpus={gpus}")
    assert (code, error) == (1, f"Error: --gpus {gpus}: expected the numbers of GPUs, from 0, such as 0 or 0,1.\n")
    assert not Path("out").exists()
