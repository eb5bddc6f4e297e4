"""What is gathered of a run, from folders in which every number is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from end_to_end import tiny
from fedswin.errors import FedSwinError
from fedswin.outcome import Outcome
from fedswin.provenance import read_provenance
from fedswin.records import round_record
from fedswin.report.facts import RunFacts, gather
from fedswin.report.summary import figures, limits, round_seconds, sentences
from fedswin.report.tables import sites_table
from fedswin.run_folder import RunFolder
from fedswin.weights.file import load_weights
from report import runs
from report.runs import FINETUNE, PRETRAIN, write_run

DONE = Outcome("completed", 3, "All 3 rounds are done.")


def gather_one(folder: Path) -> RunFacts:
    [group] = gather([folder])
    [run] = group.runs
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFacts:
    return gather_one(write_run(tmp_path / "run", FINETUNE, runs.three_sites(), ended=DONE))


def test_the_best_model_is_the_one_that_the_run_has_kept(tmp_path: Path, run: RunFacts) -> None:
    kept = load_weights(tmp_path / "run" / "global" / "best.pt").provenance
    assert run.best
    assert run.best["round"] == kept["round"] == 2
    assert run.best_score == kept["global"]["dice"]


def test_the_worst_site_and_the_worst_class(run: RunFacts) -> None:
    assert (run.worst_sites, run.worst_classes) == (["b"], ["spleen"])
    assert run.class_score("spleen") == pytest.approx((0.7 + 3 * 0.4 + 0.8) / 5)


def test_less_is_better_where_the_metric_is_a_loss(tmp_path: Path) -> None:
    losses = {site: {"metrics": {"loss": loss}, "validation_cases": 1} for site, loss in (("a", 1.0), ("b", 2.0))}
    run = gather_one(write_run(tmp_path, PRETRAIN, [round_record(0, "initial", losses)]))
    assert (run.worst_sites, run.worst_classes) == (["b"], [])


def test_all_that_are_worst_are_named_and_none_if_all_are_alike(tmp_path: Path) -> None:
    dice = {"a": {"liver": 0.0, "spleen": 0.0, "lump": 0.3}, "b": {"liver": 0.0, "spleen": 0.0, "lump": 0.3}}
    job = tiny.job({**tiny.FINETUNE, "segmentation": {"classes": {"liver": 6, "spleen": 1, "lump": 7}}})
    records = [round_record(0, "initial", {name: runs.site(scores) for name, scores in dice.items()})]
    run = gather_one(write_run(tmp_path, job, records, sites=["a", "b"]))
    assert (run.worst_sites, run.worst_classes) == ([], ["liver", "spleen"])
    assert "The classes that it segments worst are liver and spleen (Dice 0.00)." in sentences(run)


def test_what_each_site_did(run: RunFacts) -> None:
    a, b, c = run.sites
    assert [site.trained for site in run.sites] == [3, 2, 0]
    assert (a.bytes_up, a.bytes_down, b.bytes_up, c.bytes_up) == (6e6, 3e6, 4e6, 0)
    assert (a.seconds, b.seconds, c.seconds, a.waiting) == (90, 80, 0, None)
    assert run.slowest_site is b
    assert (a.training, c.training) == (4, None)
    assert (run.training_cases, run.validation_cases) == (8, 5)


def test_the_time_in_rounds_is_that_of_the_slowest_site(run: RunFacts) -> None:
    assert round_seconds(run) == 50 + 30 + 30


def test_the_newer_keys_are_read_where_they_are(tmp_path: Path) -> None:
    answer = runs.trained(1.0, waiting=5.0, memory=3e9)
    records = [
        round_record(0, "initial", {"a": runs.site({"liver": 0.1, "spleen": 0.2}, scored={"dice_liver": 0})}),
        round_record(1, "ok", {"a": runs.site({"liver": 0.1, "spleen": 0.2}, scored={"dice_liver": 0}, **answer)}),
    ]
    sites = {"a": {"cases": {"training": 9, "validation": 2}, "labels": {"liver": 7}, "regions": ["abdomen"]}}
    models = {"best": {"round": 1, "sha256": "0" * 64}}
    run = gather_one(write_run(tmp_path, FINETUNE, records, sites=sites, models=models))
    [site] = run.sites
    assert (site.training, site.labelled, site.regions) == (9, {"liver": 7}, ["abdomen"])
    assert (site.waiting, site.memory, site.scored) == (5.0, 3e9, {"dice_liver": 0})
    assert run.best
    assert run.best["round"] == 1


@pytest.mark.parametrize(
    ("command", "sites", "pooled", "kind"),
    [
        ("simulate", ["a"], {}, "federated"),
        ("submit", ["a"], {}, "federated"),
        ("simulate", ["pool"], {}, "federated"),
        ("train", ["a"], {}, "local"),
        ("train", ["pool"], {}, "central"),
        ("train", ["pool"], {"pooled": ["a", "b"]}, "central"),
        ("train", ["pool"], {"pooled": []}, "local"),
        ("train", ["pool"], {"pooled": None}, "local"),
    ],
)
def test_how_a_run_was_trained(
    tmp_path: Path, command: str, sites: list[str], pooled: dict[str, list[str]], kind: str
) -> None:
    assert gather_one(write_run(tmp_path, FINETUNE, [], command=command, sites=sites, **pooled)).kind == kind


def test_a_hospital_may_be_called_pool(tmp_path: Path) -> None:
    assert gather_one(write_run(tmp_path, FINETUNE, [], ended=DONE, command="train", sites=["pool"])).kind == "local"


def pooled_run(folder: Path, **provenance: Any) -> RunFacts:
    score = {"liver": 0.5, "spleen": 0.5}
    records = [
        round_record(0, "initial", {"pool": runs.site(score)}),
        round_record(1, "ok", {"pool": runs.site(score, **runs.trained(1.0))}),
    ]
    return gather_one(write_run(folder, FINETUNE, records, command="train", sites=["pool"], **provenance))


def test_a_pooled_run_counts_the_sites_whose_cases_it_had(tmp_path: Path) -> None:
    run = pooled_run(tmp_path, pooled=["a", "b", "c"])
    assert dict(figures(run))["sites"] == "3"
    assert sentences(run)[0] == (
        "The cases of 3 sites were pooled, and one segmentation model was fine-tuned for 1 round of 10 steps "
        "on 4 cases."
    )
    assert sites_table(run).note == "The cases are those of a, b and c."


def test_an_old_pooled_run_does_not_know_its_sites(tmp_path: Path) -> None:
    run = pooled_run(tmp_path, finished=True)
    assert dict(figures(run))["sites"] == "–"
    assert sentences(run)[0].startswith("The cases of several sites were pooled, ")
    assert sites_table(run).note == ""


def test_a_run_that_has_scored_nothing_yet(tmp_path: Path) -> None:
    run = gather_one(write_run(tmp_path, FINETUNE, []))
    assert (run.best, run.best_score, run.training_cases, run.has_ended) == (None, None, None, False)
    assert sentences(run) == [
        "No segmentation model has been fine-tuned yet.",
        "The run has not ended: 0 of 3 rounds are done.",
        "No score has been recorded yet.",
    ]


def test_a_run_cut_off_between_its_best_model_and_the_record_of_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path, FINETUNE, runs.three_sites())
    best = round_record(3, "ok", {name: runs.site({"liver": 0.9, "spleen": 0.9}) for name in "abc"})
    with patch("fedswin.run_folder.append_line", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        RunFolder(folder, FINETUNE, first_round=3).close_round(best, {})
    assert read_provenance(folder)["models"]["best"]["round"] == 3
    run = gather_one(folder)
    assert run.best
    assert (run.best["round"], run.unrecorded_best) == (2, 3)
    assert sentences(run)[2] == (
        "The best global model is that of round 2: validation Dice 0.690, over 5 cases at 3 sites. "
        "best.pt holds the model of round 3. The run was cut off before its scores were recorded."
    )


def test_the_cases_of_a_site_that_never_trained_are_not_trained_on(tmp_path: Path) -> None:
    sites = {name: {"cases": {"training": 4, "validation": 1}} for name in "abc"}
    run = gather_one(write_run(tmp_path, FINETUNE, runs.three_sites(), ended=DONE, sites=sites))
    assert run.training_cases == 8


def test_one_site_does_nothing_together(tmp_path: Path) -> None:
    records = [round_record(1, "ok", {"a": runs.site({"liver": 0.5, "spleen": 0.4}, **runs.trained(1.0))})]
    run = gather_one(write_run(tmp_path, FINETUNE, records, sites=["a"]))
    assert sentences(run)[0] == "One site fine-tuned one segmentation model for 1 round of 10 steps on 4 cases."
    assert limits([run])[3] == (
        "The validation sets are small: that of the site with the fewest has 1 case. "
        "Each run has one seed, so a small difference may be chance."
    )


@pytest.mark.parametrize(("cases", "are_small"), [(19, True), (20, False)])
def test_validation_sets_are_small_below_twenty_cases_a_site(tmp_path: Path, cases: int, are_small: bool) -> None:
    sites = {"a": runs.site({"liver": 0.5}, cases), "b": runs.site({"liver": 0.5}, 300)}
    sites["c"] = {"metrics": {}, "validation_cases": 2}  # it has no part in a score
    said = limits([gather_one(write_run(tmp_path, FINETUNE, [round_record(0, "initial", sites)]))])[3]
    assert ("small:" in said) == are_small
    assert f"of the site with the fewest has {cases} cases." in said


def test_the_sentences(run: RunFacts) -> None:
    assert sentences(run) == [
        "Two of 3 sites fine-tuned one segmentation model together for 3 rounds of 10 steps on 8 cases.",
        "The best global model is that of round 2: validation Dice 0.690, over 5 cases at 3 sites.",
        "It does worst at b (lowest Dice, 0.600; 3 cases). The class that it segments worst is spleen (Dice 0.540).",
        "1 round failed, and kept the model of the round before. 1 update was refused. 3 answers did not come in time.",
    ]


def test_the_folds_of_a_cross_validation_are_one_group(tmp_path: Path) -> None:
    for fold in range(2):
        job = tiny.job({**tiny.FINETUNE, "data": {**tiny.FINETUNE["data"], "fold": fold}})
        write_run(tmp_path / "cv" / f"fold{fold}", job, [])
    [group] = gather([tmp_path / "cv"])
    assert (group.name, group.has_folds, [run.name for run in group.runs]) == ("cv", True, ["fold0", "fold1"])


def test_a_folder_of_runs_is_so_many_runs(tmp_path: Path) -> None:
    for name in ("local/a", "local/b", "together"):
        write_run(tmp_path / name, FINETUNE, [])
    groups = gather([tmp_path / "together", tmp_path / "local"])
    assert [group.name for group in groups] == ["together", "local/a", "local/b"]
    assert not any(group.has_folds for group in groups)


def test_a_folder_that_holds_no_run(tmp_path: Path) -> None:
    with pytest.raises(FedSwinError, match="is no run folder: it has no job.yaml"):
        gather([tmp_path])


def test_a_damaged_provenance(tmp_path: Path) -> None:
    (write_run(tmp_path, FINETUNE, []) / "provenance.json").write_text("{")
    with pytest.raises(FedSwinError, match="provenance.json is damaged"):
        gather([tmp_path])
