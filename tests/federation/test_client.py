"""A site's worker, without processes: what it answers, what it keeps, and what never leaves it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from nvflare.app_common.abstract.fl_model import FLModel

from end_to_end import tiny
from fedswin.config import Job
from fedswin.federation import client, messages
from fedswin.federation.client import SiteWorker
from fedswin.federation.global_model import GlobalModel
from fedswin.federation.site_policy import SitePolicy
from fedswin.training.site_trainer import SiteTrainer
from fedswin.weights.file import load_weights
from fedswin.weights.handover import initial_state


class NoCurves:
    """Stands in for NVFlare's writer, which needs a job."""

    def add_scalar(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Path:
    return tiny.write_sites(tmp_path_factory.mktemp("hospitals"), {"a": 2})


@pytest.fixture(autouse=True)
def at_the_site(sites, monkeypatch):
    monkeypatch.setattr(client, "SummaryWriter", NoCurves)
    monkeypatch.setenv(messages.SITES_DATA_VARIABLE, str(sites))
    monkeypatch.delenv(messages.SITE_DATA_VARIABLE, raising=False)


def make_job(**federation) -> Job:
    return tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 9, "local_steps": 1, **federation}})


class Server:
    """A server of one site: asks it, and makes the next global model of its update.

    Args:
        job: the job.
        folder: the site's folder; the same one again is the same site, started again.
    """

    def __init__(self, job: Job, folder: Path, model: GlobalModel | None = None) -> None:
        self.job = job
        self.model = model or GlobalModel(job, initial_state(job).tensors)
        self.worker = SiteWorker(job, "a", folder, SitePolicy())
        self._held: int | None = None

    def ask(self, task: str, number: int, **about) -> FLModel:
        tensors, version, whole = self.model.download_for(self._held)
        about |= {"version": version, "whole": whole}
        return self.worker.answer(task, FLModel(params=dict(tensors), current_round=number, meta=about))

    def play(self, number: int) -> FLModel:
        answer = self.ask(messages.TRAIN, number)
        self._held = self.model.version
        added = self.model.add(answer.params, answer.meta["cases"], answer.meta["steps"])
        self.model.advance([added.norm])
        self.model.start_round()
        return answer

    def digest(self) -> list[float]:
        return [float(tensor.double().sum()) for tensor in self.model.published.values()]


def test_the_site_says_what_it_has_before_it_is_sent_anything(tmp_path):
    worker = SiteWorker(make_job(), "a", tmp_path, SitePolicy())
    answer = worker.answer(messages.PREPARE, FLModel(metrics={}, meta={}))
    assert answer.meta == {"precision": "float32", "cases": 2, "validation_cases": 1, "labels": {}, "regions": []}


def test_only_scalars_and_parameters_leave(tmp_path, sites):
    answer = Server(make_job(), tmp_path).ask(messages.TRAIN, 0)
    assert set(answer.params) == set(initial_state(make_job()).tensors)
    assert str(sites) not in repr(answer.meta) + repr(answer.metrics)
    assert "patient" not in repr(answer.meta)
    assert answer.meta["bytes_up"] == pytest.approx(4 * sum(t.numel() for t in answer.params.values()), rel=0.01)


@pytest.mark.parametrize(
    "settings", [{}, {"exchange": "int8", "local": ["rotation"]}], ids=["exact", "8 bits, local head"]
)
def test_a_site_that_is_started_again_goes_on_to_the_same_bits(tmp_path, settings):
    job = make_job(**settings)
    whole = Server(job, tmp_path / "whole")
    for number in range(3):
        whole.play(number)
    parts = Server(job, tmp_path / "parts")
    parts.play(0)
    parts.play(1)
    again = Server(job, tmp_path / "parts", GlobalModel.from_state(job, parts.model.state_dict()))
    again.play(2)
    assert again.digest() == whole.digest()


def test_a_round_whose_update_the_server_never_had_is_trained_again_to_the_same_bits(tmp_path):
    job = make_job()
    server = Server(job, tmp_path)
    server.play(0)
    lost = server.ask(messages.TRAIN, 1)
    again = Server(job, tmp_path, GlobalModel.from_state(job, server.model.state_dict()))
    repeated = again.ask(messages.TRAIN, 1)
    assert all(torch.equal(lost.params[name], tensor) for name, tensor in repeated.params.items())


def update_after_a_missed_round(folder: Path, choice: str, *, misses: bool, started_again: bool) -> list[torch.Tensor]:
    """What a site sends in round 2, from one and the same global model; it has scored round 1, or trained it, too."""
    job = make_job(stale_optimizer=choice)
    server = Server(job, folder)
    server.ask(messages.TRAIN, 0)
    server.ask(messages.VALIDATE if misses else messages.TRAIN, 1)
    if started_again:
        server = Server(job, folder)
    return list(server.ask(messages.TRAIN, 2).params.values())


@pytest.mark.parametrize("choice", ["reset", "decay"])
def test_a_site_that_has_missed_a_round_does_what_the_job_says_and_one_that_has_not_keeps_its_moments(tmp_path, choice):
    def update(of: str, **about: bool) -> list[torch.Tensor]:
        folder = tmp_path / "-".join([of, *map(str, about.values())])
        return update_after_a_missed_round(folder, of, **about)

    def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
        return all(map(torch.equal, one, other))

    missed = update(choice, misses=True, started_again=False)
    assert same(missed, update(choice, misses=True, started_again=True))
    assert not same(missed, update("keep", misses=True, started_again=False))
    for started_again in (False, True):
        present = update(choice, misses=False, started_again=started_again)
        assert same(present, update("keep", misses=False, started_again=started_again))


def test_with_local_modules_the_site_keeps_a_model_of_its_own(tmp_path):
    server = Server(make_job(local=["rotation"]), tmp_path)
    answer = server.play(0)
    assert not any(name.startswith("rotation.") for name in answer.params)
    own = load_weights(tmp_path / "model.pt")
    assert own.tensors.keys() == initial_state(server.job).tensors.keys()
    assert all(torch.equal(own.tensors[name], tensor) for name, tensor in answer.params.items())


def test_a_failed_round_leaves_no_trace_in_the_next(tmp_path, monkeypatch):
    job = make_job(local=["rotation"])
    clean, failing = Server(job, tmp_path / "clean"), Server(job, tmp_path / "failing")
    for server in (clean, failing):
        server.play(0)
    train = SiteTrainer.train

    def run_out_of_memory(trainer, number):
        train(trainer, number)
        raise torch.OutOfMemoryError("/secret/patient_7.nii.gz")

    monkeypatch.setattr(SiteTrainer, "train", run_out_of_memory)
    answer = failing.ask(messages.TRAIN, 1)
    assert (answer.meta["error"], answer.meta["leaves"]) == ("OutOfMemoryError", False)
    assert "secret" not in str(answer.meta)
    assert not answer.params
    assert answer.metrics == failing.ask(messages.VALIDATE, 1).metrics, "the model was scored before the trouble"
    monkeypatch.undo()
    monkeypatch.setattr(client, "SummaryWriter", NoCurves)
    failing._held = None
    for server in (clean, failing):
        server.play(2)
    assert failing.digest() == clean.digest()


def test_after_three_failures_in_a_row_the_site_asks_to_be_left_out(tmp_path, monkeypatch):
    server = Server(make_job(), tmp_path)
    full = OSError(28, "No space left on device", "/data/ct/patient_7.nii.gz")

    def fail(*_):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(SiteTrainer, "train", fail)
        answers = [server.ask(messages.TRAIN, number).meta for number in range(2)]
    server.play(2)
    monkeypatch.setattr(SiteTrainer, "train", fail)
    answers += [server.ask(messages.TRAIN, number).meta for number in (3, 4, 5)]
    assert [answer["error"] for answer in answers] == ["OSError (ENOSPC)"] * 5
    assert [answer["leaves"] for answer in answers] == [False, False, False, False, True]


def test_why_an_update_was_refused_is_in_the_sites_own_log(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        Server(make_job(), tmp_path).ask(messages.VALIDATE, 1, refused="swinViT.x holds 3 values that are not finite")
    assert "The server refused this site's last update: swinViT.x holds 3 values" in caplog.text


def test_a_site_without_data_says_the_kind_of_its_trouble_and_nothing_else(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(messages.SITES_DATA_VARIABLE, str(tmp_path / "nowhere"))
    worker = SiteWorker(make_job(), "a", tmp_path / "site", SitePolicy())
    answer = worker.answer(messages.PREPARE, FLModel(metrics={}, meta={}))
    assert answer.meta["error"] == "the site's data or settings"
    assert "nowhere" in caplog.text


@pytest.mark.parametrize("started_again", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_a_round_whose_update_was_refused_leaves_no_trace_in_the_next(tmp_path, first, started_again):
    job = make_job(exchange="int8", local=["rotation"])
    clean, refused = Server(job, tmp_path / "clean"), Server(job, tmp_path / "refused")
    for server in (clean, refused):
        for number in range(first):
            server.play(number)
    refused.ask(messages.TRAIN, first)
    if started_again:
        refused = Server(job, tmp_path / "refused", refused.model)
        clean = Server(job, tmp_path / "clean", clean.model)
    first_answer = clean.ask(messages.TRAIN, first + 1)
    next_answer = refused.ask(messages.TRAIN, first + 1, refused="too large")
    assert all(torch.equal(first_answer.params[name], tensor) for name, tensor in next_answer.params.items())
    with_it, without = (load_weights(tmp_path / name / "model.pt").tensors for name in ("refused", "clean"))
    assert all(torch.equal(without[name], tensor) for name, tensor in with_it.items())
