"""A site's own policy: its file, and what it says of a job and of a scalar."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedswin.errors import FedSwinError
from fedswin.federation.site_policy import SITE_POLICY, SitePolicy, load_site_policy


def kit(folder: Path, text: str) -> Path:
    (folder / SITE_POLICY).parent.mkdir(parents=True)
    (folder / SITE_POLICY).write_text(text)
    return folder


def test_a_kit_without_the_file_has_the_defaults_which_let_no_code_in(tmp_path: Path) -> None:
    policy = load_site_policy(tmp_path)
    assert policy == SitePolicy()
    assert not policy.code_in_jobs
    assert policy.allows_job("anything")
    assert policy.allows_scalar("dice_liver")


def test_what_the_file_says_holds(tmp_path: Path) -> None:
    text = "data: ct\njobs: [pretrain, 'finetune_*']\nscalars: [loss, dice*]\ngpus: 2\nmin_cases: 5\n"
    policy = load_site_policy(kit(tmp_path, text))
    assert policy.data == tmp_path / "ct"
    names = ["pretrain", "finetune_btcv", "pretrain_reference", "Pretrain"]
    assert [policy.allows_job(name) for name in names] == [True, True, False, False]
    assert [policy.allows_scalar(name) for name in ("loss", "dice_liver", "rotation")] == [True, True, False]
    assert (policy.gpus, policy.min_cases) == (2, 5)


def test_an_absolute_data_folder_stays_so(tmp_path: Path) -> None:
    assert load_site_policy(kit(tmp_path, "data: /data/ct\n")).data == Path("/data/ct")


@pytest.mark.parametrize(
    ("text", "said"),
    [("dat: /x", "data"), ("code_in_jobs: perhaps", "code_in_jobs"), ("gpus: -1", "gpus"), ("- a", "mapping")],
)
def test_a_wrong_line_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FedSwinError, match=rf"site\.yaml.*{said}"):
        load_site_policy(kit(tmp_path, text))
