"""Real CT: three hospitals pre-train on what they have, two of them find tumours from that encoder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from fedswin.config import load_job
from fedswin.data.datalist import read_site
from fedswin.data.dealing.shard import shard
from fedswin.operations.evaluate import evaluate, matrix
from fedswin.operations.simulate import simulate
from fedswin.records import read_records

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

DEMO = Path(__file__).parents[2] / "jobs" / "demo"
SHORT = ["federation.rounds=1", "federation.local_steps=2", "trainer.warmup_steps=1"]


def test_pretraining_and_tumour_segmentation_on_real_ct(real_ct, tmp_path):
    tumour, pretrain = tmp_path / "tumour sites", tmp_path / "pretrain sites"
    shard(real_ct, tumour, by="iid", sites=2, only="sarcoma/*")
    result = shard(real_ct, pretrain, by="source", keep_test=tumour)
    assert set(result.sites) == {"sarcoma", "organs", "unlabelled"}
    assert any("dicom" in message for message in result.messages)
    held_out = {
        case.image.resolve() for name in ("site_1", "site_2") for case in read_site(tumour / name).cases("test")
    }
    read = {
        case.image.resolve()
        for name in result.sites
        for split in ("training", "validation")
        for case in read_site(pretrain / name).cases(split)
    }
    assert held_out
    assert not held_out & read

    console = Console(file=io.StringIO(), width=200)
    simulate(load_job(DEMO / "pretrain.yaml", SHORT), pretrain, tmp_path / "pretrained", console=console)
    job = load_job(DEMO / "finetune_tumour.yaml", SHORT)
    simulate(job, tumour, tmp_path / "finetuned", init=tmp_path / "pretrained", console=console)
    warnings = [line for line in console.file.getvalue().splitlines() if "Warning" in line]
    assert warnings
    assert all("pre-training" in line or "encoder" in line for line in warnings)  # of two steps, not of data
    for run, metric in (("pretrained", "loss"), ("finetuned", "dice")):
        records = read_records(tmp_path / run)
        assert [record["status"] for record in records] == ["initial", "ok"]
        assert all(record["global"][metric] is not None for record in records)
    table = matrix(evaluate([tmp_path / "finetuned"], tumour))
    assert set(table["finetuned"]) == {"site_1", "site_2", "all"}
    assert 0 <= table["finetuned"]["all"]["dice_tumour"] <= 1
