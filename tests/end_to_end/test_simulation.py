"""The federation in NVFlare's simulator, with real processes: what it computes is what was promised."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from monai.networks.nets import SwinUNETR
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from end_to_end import tiny
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.exporting.export import export
from fedswin.operations.simulate import simulate
from fedswin.operations.train import train
from fedswin.pretraining.verdict import judge_record
from fedswin.records import read_records
from fedswin.weights.file import load_weights

pytestmark = pytest.mark.end_to_end


def run_quietly(job: Job, data: Path, out: Path, **options) -> str:
    """Simulate and return what a person would have seen."""
    console = Console(file=io.StringIO(), width=200)
    simulate(job, data, out, console=console, **options)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    return tiny.write_sites(tmp_path_factory.mktemp("three hospitals"), {"a": 4, "b": 1, "c": 2}, unlabelled=("c",))


@pytest.fixture(scope="module")
def pretrained(sites, tmp_path_factory):
    """A pre-training of all three sites; the paths have spaces."""
    out = tmp_path_factory.mktemp("runs") / "pre training"
    return out, run_quietly(tiny.job(tiny.PRETRAIN), sites, out)


@pytest.fixture(scope="module")
def finetuned(sites, pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "finetune"
    return out, run_quietly(tiny.job(tiny.FINETUNE), sites, out, init=pretrained[0])


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_the_run_folder_is_as_designed(pretrained):
    out, _ = pretrained
    job = load_weights(out / "global" / "last.pt").job
    records = read_records(out)
    assert [(record["round"], record["status"]) for record in records] == [(0, "initial"), (1, "ok"), (2, "ok")]
    for record in records[1:]:
        assert record["missing"] == record["refused"] == record["late"] == []
        assert {name: site["weight"] for name, site in record["sites"].items()} == {"a": 4, "b": 1, "c": 2}
        assert all(site["steps"] == 2 and site["bytes_up"] > 1e6 for site in record["sites"].values())
    losses = [record["global"]["loss"] for record in records]
    assert load_weights(out / "global" / "best.pt").provenance["round"] == losses.index(min(losses))
    assert json.loads((out / "provenance.json").read_text())["job_sha256"] == job.digest
    assert {path.name for path in (out / "sites").iterdir()} == {"a", "b", "c"}
    assert (out / "job.yaml").exists()


def test_the_global_score_is_the_mean_over_all_validation_cases(pretrained):
    for record in read_records(pretrained[0]):
        own = [site["metrics"]["loss"] for site in record["sites"].values()]
        assert record["global"]["loss"] == pytest.approx(sum(own) / 3)


def test_tensorboard_shows_the_global_model_and_each_site_on_one_axis(pretrained):
    out, _ = pretrained
    records = read_records(out)
    found = scalars(out / "tensorboard" / "global", "validation/loss")
    assert found == [(2 * record["round"], pytest.approx(record["global"]["loss"])) for record in records]
    for site in "abc":
        assert [step for step, _ in scalars(out / "tensorboard" / site, "validation/loss")] == [0, 2, 4]
        for part in ("inpainting", "rotation", "contrastive"):
            assert [step for step, _ in scalars(out / "tensorboard" / site, f"train/{part}")] == [0, 1, 2, 3]


def test_a_pre_training_says_whether_it_learns(pretrained, finetuned):
    """Each site has one validation patient; together they are three."""
    out, shown = pretrained
    records = read_records(out)
    job = load_weights(out / "global" / "last.pt").job
    found = [judge_record(job, record) for record in records]
    assert [learning.patients for learning in found] == [3, 3, 3]
    assert all(learning.line in shown for learning in found)
    assert shown.count("jobs/when_pretraining_does_not_learn.md") >= 1, "four views a site are too few to be sure"
    noted = json.loads((out / "provenance.json").read_text())["learning"]
    for name in ("best", "last"):
        written = load_weights(out / "global" / f"{name}.pt").provenance
        assert written["learning"] == noted[name] == found[written["round"]].as_dict()
    for name in ("rotation_accuracy", "contrastive_share", "feature_spread", "feature_rank"):
        for run in ("global", "a", "b", "c"):
            assert [step for step, _ in scalars(out / "tensorboard" / run, f"validation/{name}")] == [0, 2, 4]
    assert f"Warning: this encoder {'was at' if noted['best']['verdict'] == 'at chance' else 'had'}" in finetuned[1]


def test_progress_is_told_by_round_and_nvflares_log_is_kept_apart(pretrained):
    out, shown = pretrained
    assert "round  2 of 2: validation loss" in shown
    assert "INFO" not in shown
    assert "INFO" in (out / "nvflare" / "segment1" / "console.log").read_text()


@pytest.mark.long
def test_two_runs_give_the_same_bits(sites, pretrained, tmp_path):
    run_quietly(tiny.job(tiny.PRETRAIN), sites, tmp_path / "again")
    first, second = (load_weights(run / "global" / "last.pt") for run in (pretrained[0], tmp_path / "again"))
    assert first.digest == second.digest
    assert first.digest != load_weights(pretrained[0] / "nvflare" / "initial.pt").digest


@pytest.mark.parametrize("content", [tiny.PRETRAIN, tiny.FINETUNE], ids=["pretrain", "finetune"])
def test_one_site_federated_is_the_same_site_trained_alone_bit_for_bit(content, sites, tmp_path):
    job = tiny.job({**content, "federation": {**content["federation"], "sites": ["a"]}})
    run_quietly(job, sites, tmp_path / "federated")
    train(job, sites / "a", tmp_path / "alone", console=Console(file=io.StringIO()))
    for name in ("last", "best"):
        federated, alone = (load_weights(tmp_path / run / "global" / f"{name}.pt") for run in ("federated", "alone"))
        assert federated.digest == alone.digest
    scores = [[record["global"] for record in read_records(tmp_path / run)] for run in ("federated", "alone")]
    assert scores[0] == scores[1]


def test_the_encoder_is_handed_over_and_the_site_without_labels_takes_no_part(pretrained, finetuned):
    out, shown = finetuned
    encoder = {
        name: t for name, t in load_weights(pretrained[0] / "global" / "best.pt").tensors.items() if "swinViT" in name
    }
    initial = load_weights(out / "nvflare" / "initial.pt").tensors
    assert len(encoder) > 100
    assert all(torch.equal(initial[name], tensor) for name, tensor in encoder.items())
    assert f"{len(encoder)} tensors matched ({len(encoder)} of the encoder)" in shown
    assert "c takes no part: it has no labelled training case" in shown
    assert all(set(record["sites"]) == {"a", "b"} for record in read_records(out))
    assert all("dice_lump" in record["global"] for record in read_records(out))


def test_the_export_is_what_monais_load_from_reads(pretrained, tmp_path):
    export(pretrained[0], "swinvit", tmp_path / "encoder.pt", which="last")
    model = SwinUNETR(in_channels=1, out_channels=2, feature_size=12)
    before = {name: tensor.clone() for name, tensor in model.swinViT.named_parameters()}
    model.load_from(torch.load(tmp_path / "encoder.pt", weights_only=True))
    trained = load_weights(pretrained[0] / "global" / "last.pt").tensors
    after = dict(model.swinViT.named_parameters())
    assert all(torch.equal(tensor, trained[f"swinViT.{name}"]) for name, tensor in after.items())
    assert not any(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(sites, pretrained, tmp_path):
    wrong = tiny.job({**tiny.FINETUNE, "model": {"feature_size": 24}})
    with pytest.raises(FedSwinError, match="encoder tensors have another shape"):
        run_quietly(wrong, sites, tmp_path / "out", init=pretrained[0])
    assert not (tmp_path / "out").exists()
