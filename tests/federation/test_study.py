"""The server's side of a study, against sites without processes: rounds, quorum, refusals, records, resuming."""

from __future__ import annotations

import dataclasses
import json
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from end_to_end import tiny
from federation.fake_sites import FakeSite, FakeSites, tiny_tensors
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.federation.study import Study
from fedswin.outcome import read_outcome
from fedswin.provenance import read_provenance
from fedswin.records import read_records
from fedswin.status import read_status
from fedswin.weights.file import load_weights
from learning import AT_CHANCE, GOOD

CASES = {"a": 5, "b": 2, "c": 3, "d": 1}


def make_job(**federation) -> Job:
    return tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 3, "local_steps": 2, "min_sites": 2, **federation}})


def run(job, folder, behaviours=None, cases=CASES, **options):
    sites = FakeSites(job, cases, behaviours, **options)
    outcome = Study(job, folder, sites, tiny_tensors(), clock=sites.clock).run()
    return outcome, read_records(folder), sites


def digest(folder, name="last"):
    return load_weights(folder / "global" / f"{name}.pt").digest


def in_rounds(*rounds, then):
    """Behave as ``then`` says in these rounds, and well in the others."""
    return lambda question, answer: then(question, answer) if question.round in rounds else answer


def no_answer(question, answer):
    return None


def broken(value):
    """An update with ``value`` in one place."""

    def change(question, answer):
        def read():
            update = {name: tensor.clone() for name, tensor in answer.read().items()}
            update["body.weight"][0, 0] = value
            return update

        return dataclasses.replace(answer, read=read)

    return change


def test_every_global_model_has_a_line_about_itself_and_the_last_is_scored_too(tmp_path):
    job = make_job()
    outcome, records, sites = run(job, tmp_path)
    assert (outcome.ended, outcome.round) == ("completed", 3)
    assert [(record["round"], record["status"]) for record in records] == [
        (0, "initial"),
        *((r, "ok") for r in (1, 2, 3)),
    ]
    assert [question.task for question in sites.asked] == [messages.PREPARE, *[messages.TRAIN] * 3, messages.VALIDATE]
    assert {site: entry["weight"] for site, entry in records[1]["sites"].items()} == CASES
    for number, question in enumerate(sites.asked[1:]):
        model = question.download.tensors
        scored = sum(float((tensor.double() ** 2).sum()) for tensor in model.values())
        assert records[number]["global"]["loss"] == pytest.approx(scored, rel=1e-5)


def test_the_next_model_is_the_mean_weighted_by_cases(tmp_path):
    job = make_job(rounds=1)
    sites = FakeSites(job, CASES)
    updates = {}

    def keep(question, answer):
        updates[answer.site] = {name: tensor.double() for name, tensor in answer.read().items()}
        return answer

    sites.behaviours = dict.fromkeys(CASES, in_rounds(0, then=keep))
    Study(job, tmp_path, sites, tiny_tensors(), clock=sites.clock).run()
    for name, tensor in load_weights(tmp_path / "global" / "last.pt").tensors.items():
        mean = sum(CASES[site] * update[name] for site, update in updates.items()) / sum(CASES.values())
        assert torch.allclose(tensor.double(), mean, atol=1e-7)


def test_each_update_is_compared_with_the_step_that_came_of_all(tmp_path):
    job, held = make_job(rounds=1), tiny_tensors()
    sites, updates = FakeSites(job, CASES), {}

    def keep(question, answer):
        updates[answer.site] = dict(answer.read())
        sites.now += 10.0
        return answer

    sites.behaviours = dict.fromkeys(CASES, in_rounds(0, then=keep))
    Study(job, tmp_path, sites, tiny_tensors(), clock=sites.clock).run()
    made = load_weights(tmp_path / "global" / "last.pt").tensors
    entries = read_records(tmp_path)[1]["sites"]
    for site, update in updates.items():
        step = flat_step(update, held)
        alike = torch.nn.functional.cosine_similarity(step, flat_step(made, held), dim=0)
        assert entries[site]["norm"] == pytest.approx(float(step.norm()), rel=1e-5)
        assert entries[site]["cosine"] == pytest.approx(float(alike), abs=1e-4)  # so few parameters do not collide
    waiting = [entries[site]["waiting"] for site in updates]  # in the order of their answers
    assert [a - b for a, b in pairwise(waiting)] == [10.0] * (len(CASES) - 1)
    about = json.loads((tmp_path / "provenance.json").read_text())
    assert about["rounds"] == [{"round": 1, "answered": sorted(CASES), "refused": [], "late": [], "missing": []}]
    assert {site: held["cases"]["training"] for site, held in about["sites"].items()} == CASES


def flat_step(new, old):
    return torch.cat([(new[name] - old[name]).flatten() for name in old]).double()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), exchange=st.sampled_from(["fp32", "fp16", "int8"]))
def test_the_order_of_arrival_changes_no_bit(tmp_path_factory, seed, exchange):
    job = make_job(exchange=exchange)
    straight, shuffled = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("runs")
    run(job, straight)
    shuffle = random.Random(seed)
    run(job, shuffled, order=lambda names: shuffle.sample(names, len(names)))
    assert digest(straight) == digest(shuffled)
    assert read_records(straight) == read_records(shuffled)


def test_below_the_quorum_the_old_model_stays_and_the_round_says_so(tmp_path):
    job = make_job(rounds=2)
    absent = in_rounds(0, then=no_answer)
    _, records, sites = run(job, tmp_path, dict.fromkeys("abc", absent))
    assert [record["status"] for record in records] == ["initial", "failed", "ok"]
    assert records[1]["missing"] == ["a", "b", "c"]
    assert records[1]["global"] == records[0]["global"]
    first, second = (question for question in sites.asked if question.task == messages.TRAIN)
    assert all(torch.equal(first.download.tensors[name], tensor) for name, tensor in second.download.tensors.items())


def test_a_failed_round_cannot_become_best(tmp_path):
    _, records, _ = run(make_job(rounds=1), tmp_path, dict.fromkeys("abc", in_rounds(0, then=no_answer)))
    assert records[1]["status"] == "failed"
    assert load_weights(tmp_path / "global" / "best.pt").provenance["round"] == 0


def test_too_many_failed_rounds_in_a_row_end_the_study_with_the_last_good_model(tmp_path):
    job = make_job(rounds=9, max_failed_rounds=2)
    outcome, records, _ = run(job, tmp_path, dict.fromkeys("abc", in_rounds(*range(2, 9), then=no_answer)))
    assert outcome.ended == "failed_rounds"
    assert read_outcome(tmp_path) == outcome
    assert "a: no answer; b: no answer; c: no answer" in outcome.message
    assert [record["status"] for record in records] == ["initial", "ok", "ok", "failed", "failed"]
    good = tmp_path / "good"
    run(make_job(rounds=2), good)
    assert digest(tmp_path) == digest(good)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(float("nan"), "body.weight"), (float("inf"), "body.weight"), (1e6, "norm")],
)
def test_a_bad_update_is_refused_by_name_and_changes_nothing(tmp_path, value, reason):
    job = make_job()
    bad = in_rounds(1, then=broken(value))
    outcome, records, sites = run(job, tmp_path / "bad", {"b": bad})
    [refused] = records[2]["refused"]
    assert refused["site"] == "b"
    assert reason in refused["reason"]
    assert outcome.ended == "completed"
    assert set(records[2]["sites"]) == set(CASES)
    assert "weight" not in records[2]["sites"]["b"]
    told = [question for question in sites.asked if question.refused]
    assert [(question.sites, question.round, question.refused) for question in told] == [(["b"], 2, refused["reason"])]
    run(job, tmp_path / "without", {"b": in_rounds(1, then=no_answer)})
    assert digest(tmp_path / "bad") == digest(tmp_path / "without")


def test_a_refused_update_is_not_counted_as_one_that_came_too_late(tmp_path):
    _, records, _ = run(make_job(), tmp_path, {"b": in_rounds(0, then=broken(float("nan")))})
    assert [len(record["refused"]) for record in records] == [0, 1, 0, 0]
    assert [record["late"] for record in records] == [[], [], [], []]


def test_an_error_at_a_site_is_a_refused_round_and_three_leave_it_out(tmp_path):
    failures = iter(range(1, 100))

    def fail(question, answer):
        return dataclasses.replace(answer, error="OutOfMemoryError", leaves=next(failures) >= 3)

    _, records, sites = run(make_job(rounds=5), tmp_path, {"c": fail})
    assert [len(record["refused"]) for record in records] == [0, 1, 1, 1, 0, 0]
    assert records[1]["refused"] == [{"site": "c", "reason": "OutOfMemoryError"}]
    scored = ["metrics" in record["sites"].get("c", {}) for record in records]
    assert scored == [True, True, True, False, False, False]
    assert [("c" in question.sites) for question in sites.asked[1:]].count(True) >= 3
    assert "c" not in sites.asked[-1].sites


def test_an_answer_that_came_too_late_is_dropped_and_counted(tmp_path):
    _, records, _ = run(make_job(), tmp_path, {"d": in_rounds(0, then=no_answer)})
    assert [record["missing"] for record in records] == [[], ["d"], [], []]
    assert [record["late"] for record in records] == [[], [], [{"site": "d", "round": 0}], []]


def test_what_came_too_late_is_told_once_though_the_site_trains_no_more(tmp_path):
    first_of_all = {site: in_rounds(0, then=no_answer) for site in CASES}
    _, records, _ = run(make_job(rounds=4, min_sites=1, sample=1, max_failed_rounds=3), tmp_path, first_of_all)
    told = [entry["site"] for record in records for entry in record["late"]]
    assert len(told) == len(set(told)) == 1


def test_a_site_that_was_not_ready_in_time_is_in_the_provenance_once_it_has_trained(tmp_path, monkeypatch):
    def prepare(site, question):
        answer = really_answer(site, question)
        return None if question.task == messages.PREPARE and site.name == "d" else answer

    really_answer = FakeSite.answer
    monkeypatch.setattr(FakeSite, "answer", prepare)
    _, records, _ = run(make_job(round_timeout=5), tmp_path)
    assert "weight" in records[1]["sites"]["d"]
    sites = read_provenance(tmp_path)["sites"]
    assert list(sites) == ["a", "b", "c", "d"]
    assert sites["d"]["cases"] == {"training": 1, "validation": 1}


def test_who_watches_sees_who_is_gone_and_who_is_late(tmp_path, monkeypatch):
    def leave(question, answer):
        return dataclasses.replace(answer, error="OutOfMemoryError", leaves=True)

    def prepare(site, question):
        answer = really_answer(site, question)
        fails = question.task == messages.PREPARE and site.name == "a"
        return dataclasses.replace(answer, error="the site's data or settings") if fails else answer

    really_answer = FakeSite.answer
    monkeypatch.setattr(FakeSite, "answer", prepare)
    behaviours = {"b": in_rounds(1, then=leave), "d": in_rounds(2, then=no_answer)}
    run(make_job(rounds=2, min_sites=1), tmp_path, behaviours)
    assert read_status(tmp_path).sites == {"a": "gone", "b": "gone", "c": "sent", "d": "late"}


def test_a_site_is_as_far_as_its_newest_loss_of_the_round(tmp_path):
    seen = []

    def train(question, answer):
        study.curves.add("a", "train/loss", 0.5, 2 * question.round)
        study.curves.add("a", "train/learning_rate", 0.1, 2 * question.round + 1)
        seen.append(study.steps)
        return answer

    sites = FakeSites(make_job(rounds=2), CASES, {"d": train})
    study = Study(make_job(rounds=2), tmp_path, sites, tiny_tensors(), clock=sites.clock)
    study.curves.add("b", "train/loss", 0.5, 1)
    study.run()
    assert seen[:2] == [{"a": (1, 2, 0.5), "b": (2, 2, 0.5)}, {"a": (1, 2, 0.5)}]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stop=st.integers(1, 3), exchange=st.just("fp32"), optimizer=st.sampled_from(["none", "fedavgm", "fedadam"]))
def test_a_study_that_is_stopped_anywhere_goes_on_to_the_same_bits(tmp_path_factory, stop, exchange, optimizer):
    job = make_job(rounds=4, exchange=exchange, aggregation={"optimizer": optimizer}, sample=3)
    whole, parts = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("runs")
    run(job, whole)
    sites = FakeSites(job, CASES)

    class StoppedError(Exception):
        pass

    def stop_in_the_middle(question, answer):
        if question.round == stop:
            raise StoppedError
        return answer

    sites.behaviours = {"c": stop_in_the_middle}
    with pytest.raises(StoppedError):
        Study(job, parts, sites, tiny_tensors(), clock=sites.clock).run()
    again = FakeSites(job, CASES)
    Study(job, parts, again, clock=again.clock).run()
    assert digest(parts) == digest(whole)
    assert digest(parts, "best") == digest(whole, "best")
    assert [record["global"] for record in read_records(parts)] == [record["global"] for record in read_records(whole)]


def test_a_study_of_another_job_is_not_resumed(tmp_path):
    run(make_job(rounds=1), tmp_path)
    other = make_job(rounds=2)
    with pytest.raises(FedSwinError, match="started with another job"):
        Study(other, tmp_path, FakeSites(other, CASES))


def test_without_a_state_there_is_nothing_to_resume(tmp_path):
    job = make_job()
    with pytest.raises(FedSwinError, match="no state of this study"):
        Study(job, tmp_path, FakeSites(job, CASES))


def test_the_segment_ends_after_the_round_and_the_next_goes_on_with_other_sites(tmp_path):
    job = make_job(rounds=3)
    sites = FakeSites(job, {"a": 5, "b": 2})
    study = Study(job, tmp_path, sites, tiny_tensors(), clock=sites.clock)

    def ask_to_end(question, answer):
        if question.round == 1:
            study.end_segment()
        return answer

    sites.behaviours = {"a": ask_to_end}
    assert study.run().ended == "segment"
    assert [record["round"] for record in read_records(tmp_path)] == [0, 1]
    more = FakeSites(job, {"a": 5, "c": 3})
    assert Study(job, tmp_path, more, clock=more.clock).run().ended == "completed"
    records = read_records(tmp_path)
    assert [set(record["sites"]) for record in records] == [{"a", "b"}, {"a", "b"}, {"a", "b", "c"}, {"a", "c"}]
    assert read_outcome(tmp_path).is_final


def test_only_the_sampled_sites_train_and_all_score(tmp_path):
    job = make_job(rounds=6, sample=2)
    _, records, _ = run(job, tmp_path)
    trained = [{site for site, entry in record["sites"].items() if "weight" in entry} for record in records[1:]]
    assert all(len(sites) == 2 for sites in trained)
    assert len({frozenset(sites) for sites in trained}) > 1
    assert all(
        {site for site, entry in record["sites"].items() if entry["metrics"]} == set(CASES) for record in records
    )


def test_patience_ends_the_study_with_the_model_that_was_scored_last(tmp_path):
    def worse(question, answer):
        return dataclasses.replace(answer, metrics={"loss": float(question.round)})

    job = make_job(rounds=9, selection={"patience": 2})
    outcome, records, _ = run(job, tmp_path, dict.fromkeys(CASES, worse))
    assert (outcome.ended, outcome.round) == ("early_stopping", 2)
    assert [record["round"] for record in records] == [0, 1, 2]
    assert load_weights(tmp_path / "global" / "last.pt").provenance["round"] == 2
    assert load_weights(tmp_path / "global" / "best.pt").provenance["round"] == 0


def test_local_modules_never_reach_the_server_and_stay_the_sites_own(tmp_path):
    job = make_job(local=["head"])
    _, _, sites = run(job, tmp_path)
    assert set(load_weights(tmp_path / "global" / "last.pt").tensors) == {"body.weight", "body.bias"}
    heads = [site.model.head.weight for site in sites.sites.values()]
    assert not torch.equal(heads[0], heads[1])
    assert "head.weight" in sites.asked[1].download.tensors, "all sites start from the same heads"


def test_what_a_site_sends_beside_the_update_cannot_break_the_records(tmp_path):
    def odd(question, answer):
        report = {**answer.report, "train": {"loss": float("nan"), "x": object()}, "seconds": "soon"}
        return dataclasses.replace(answer, report=report, metrics={"loss": float("inf"), "patient": 3.0})

    _, records, _ = run(make_job(rounds=1), tmp_path, {"a": odd})
    assert records[1]["sites"]["a"]["train"] == {}
    assert records[1]["sites"]["a"]["metrics"] == {}
    assert json.loads(json.dumps(records[1], allow_nan=False))
    assert np.isfinite(records[1]["global"]["loss"])


@pytest.mark.parametrize("count", [3, -3, 0, 1, True, "two"])
def test_counts_that_make_no_sense_neither_break_the_records_nor_weigh(tmp_path, count):
    def odd(question, answer):
        return dataclasses.replace(answer, report={**answer.report, "validation_cases": 1, "scored": {"loss": count}})

    _, records, _ = run(make_job(rounds=1), tmp_path, {"a": odd})
    assert "scored" not in records[1]["sites"]["a"]
    assert "pooled" not in records[1]


def test_a_negative_number_of_validation_cases_is_none(tmp_path):
    def odd(question, answer):
        return dataclasses.replace(answer, report={**answer.report, "validation_cases": -5}, metrics={"loss": 1e6})

    _, records, _ = run(make_job(rounds=1), tmp_path, {"a": odd})
    assert records[1]["sites"]["a"]["validation_cases"] == 0
    assert records[1]["global"]["loss"] < 1e5


def test_of_what_a_site_tells_of_its_training_known_names_are_recorded(tmp_path):
    def odd(question, answer):
        return dataclasses.replace(answer, report={**answer.report, "train": {"loss": 1.0, "Hans Mueller": 2.0}})

    _, records, _ = run(make_job(rounds=1), tmp_path, {"a": odd})
    assert records[1]["sites"]["a"]["train"] == {"loss": 1.0}


def test_too_few_sites_end_the_study_before_it_starts(tmp_path):
    job = make_job()
    sites = FakeSites(job, {"a": 1})
    with pytest.raises(FedSwinError, match="1 sites can take part, and federation.min_sites is 2"):
        Study(job, tmp_path, sites, tiny_tensors(), clock=sites.clock).run()


def test_a_hostile_site_has_no_part_in_whether_a_model_learns(tmp_path):
    """What it says of rotations cannot be, so the others alone decide."""
    honest = {**GOOD, "loss": 1.0}

    def say(metrics, cases):
        return lambda question, answer: dataclasses.replace(
            answer, metrics=metrics, report={**answer.report, "validation_cases": cases}
        )

    evil = {**honest, **AT_CHANCE, "rotation_accuracy": -1e30, "feature_spread": "0", "line": "trust me"}
    behaviours = {"a": say(evil, 10**6), **{site: say(dict(honest), 3) for site in "bcd"}}
    _, records, _ = run(make_job(), tmp_path, behaviours)
    kept = records[1]["sites"]["a"]["metrics"]
    assert kept == {name: evil[name] for name in ("loss", "rotation_accuracy_sd", "contrastive_share", "feature_rank")}
    assert records[1]["global"]["rotation_accuracy"] == pytest.approx(GOOD["rotation_accuracy"])
    noted = read_provenance(tmp_path)["learning"]["last"]
    assert (noted["patients"], noted["rotation_accuracy"]) == (9, pytest.approx(GOOD["rotation_accuracy"]))


def test_the_number_of_patients_reaches_the_record_and_the_verdict(tmp_path):
    def say(question, answer):
        report = {**answer.report, "validation_cases": 8, "scored": {"rotation_accuracy": 2}}
        return dataclasses.replace(answer, metrics={**GOOD, "loss": 1.0}, report=report)

    _, records, _ = run(make_job(), tmp_path, dict.fromkeys(CASES, say))
    assert records[-1]["sites"]["a"]["scored"] == {"rotation_accuracy": 2}
    last = load_weights(tmp_path / "global" / "last.pt").provenance["learning"]
    assert last == read_provenance(tmp_path)["learning"]["last"]
    assert (last["patients"], last["round"], last["verdict"]) == (8, 3, "learns")
