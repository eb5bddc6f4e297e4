"""Training without a federation: resumed, stopped early, pooled, and refused."""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import replace

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from end_to_end import tiny
from fedswin.data.datalist import read_site
from fedswin.errors import FedSwinError
from fedswin.operations import train as training
from fedswin.operations.run_source import run_source
from fedswin.operations.train import pool_sites, train
from fedswin.records import read_records
from fedswin.run_lock import lock_run
from fedswin.training.scores import Validation
from fedswin.training.site_trainer import SiteTrainer
from fedswin.weights.file import load_weights

JOB = tiny.job(tiny.PRETRAIN)


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    return tiny.write_sites(tmp_path_factory.mktemp("sites"), {"a": 2, "b": 1})


def run(*arguments, **options):
    train(*arguments, console=Console(file=io.StringIO()), **options)


def test_a_run_cut_off_after_a_round_is_resumed_to_the_same_model(sites, tmp_path, monkeypatch):
    run(JOB, sites / "a", tmp_path / "whole")
    write = training._LocalStudy.train

    def cut_off(study, number):
        write(study, number)
        raise KeyboardInterrupt

    monkeypatch.setattr(training._LocalStudy, "train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(JOB, sites / "a", tmp_path / "cut")
    monkeypatch.undo()
    for options in ({"resume": True}, {"overwrite": True}):
        with lock_run(tmp_path / "cut"), pytest.raises(FedSwinError, match="cut is being written by process"):
            run(JOB, sites / "a", tmp_path / "cut", **options)
    run(JOB, sites / "a", tmp_path / "cut", resume=True)
    for name in ("last", "best"):
        whole, cut = (load_weights(tmp_path / folder / "global" / f"{name}.pt") for folder in ("whole", "cut"))
        assert whole.digest == cut.digest
    whole, cut = ([record["global"] for record in read_records(tmp_path / folder)] for folder in ("whole", "cut"))
    assert whole == cut
    with pytest.raises(FedSwinError, match="holds a run of another job"):
        run(tiny.job({**tiny.PRETRAIN, "seed": 5}), sites / "a", tmp_path / "cut", resume=True)


def test_nothing_pulls_where_there_is_no_global_model(sites, tmp_path):
    short = {"rounds": 1, "local_steps": 2, "proximal": 10.0}
    run(tiny.job({**tiny.FINETUNE, "federation": short}), sites / "a", tmp_path / "out")
    trained = read_records(tmp_path / "out")[1]["sites"]["a"]["train"]
    assert "loss" in trained
    assert "proximal" not in trained


def test_a_run_stops_when_patience_is_at_its_end(sites, tmp_path, monkeypatch):
    content = {**tiny.PRETRAIN, "federation": {"rounds": 9, "local_steps": 1, "selection": {"patience": 2}}}
    losses = [3.0, 1.0, 2.0, 1.0]
    monkeypatch.setattr(SiteTrainer, "score", lambda trainer, number: Validation({"loss": losses[number]}, {}))
    run(tiny.job(content), sites / "a", tmp_path / "out")
    assert [record["global"]["loss"] for record in read_records(tmp_path / "out")] == losses
    assert load_weights(tmp_path / "out" / "global" / "best.pt").provenance["round"] == 1
    assert load_weights(tmp_path / "out" / "global" / "last.pt").provenance["round"] == 3
    view = run_source(tmp_path / "out")()
    assert view.ended == "The last 2 models were no better than the best."
    assert view.best == (1, 1.0)


def test_pooled_sites_show_all_regions_that_one_of_them_shows(sites):
    a, b = (read_site(sites / name) for name in ("a", "b"))
    both = [replace(a, regions=("abdomen", "pelvis")), replace(b, regions=("chest", "abdomen"))]
    assert pool_sites(both).regions == ("chest", "abdomen", "pelvis")


def test_pooled_sites_hold_every_case_once(sites):
    both = [read_site(sites / name) for name in ("a", "b")]
    pool = pool_sites(both)
    for split in ("training", "validation", "test"):
        expected = [replace(case, site=site.name) for site in both for case in site.cases(split)]
        assert pool.cases(split) == expected


def test_what_is_there_is_not_overwritten_unasked(sites, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(FedSwinError, match="notes exists"):
        run(JOB, sites / "a", tmp_path / "notes")
    with pytest.raises(FedSwinError, match="something other than a run"):
        run(JOB, sites / "a", tmp_path / "notes", overwrite=True)
    with pytest.raises(FedSwinError, match="no run to resume"):
        run(JOB, sites / "a", tmp_path / "new", resume=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["notes", "mine.txt"]


def test_what_libraries_warn_of_is_kept_in_a_file_and_not_shown(sites, tmp_path, monkeypatch, capfd):
    score = training._LocalStudy.score

    def warn(study, number):
        warnings.warn("this argument is deprecated", FutureWarning, stacklevel=1)
        logging.getLogger("a library").warning("look here")
        score(study, number)

    monkeypatch.setattr(training._LocalStudy, "score", warn)
    run(JOB, sites / "a", tmp_path / "out")
    log = (tmp_path / "out" / "sites" / "a" / "log.txt").read_text()
    assert "this argument is deprecated" in log
    assert "look here" in log
    assert "deprecated" not in "".join(capfd.readouterr())


def test_pictures_stay_with_the_site_unless_they_are_asked_for(sites, tmp_path):
    def pictures(folder):
        runs = {file.parent for file in folder.rglob("events.*")}
        drawn = [run for run in runs if EventAccumulator(str(run)).Reload().Tags()["images"]]
        return {str(run.relative_to(folder)) for run in drawn}

    run(JOB, sites / "a", tmp_path / "out")
    assert pictures(tmp_path / "out") == {"sites/a/tensorboard"}
    own = EventAccumulator(str(tmp_path / "out/sites/a/tensorboard")).Reload()
    assert [event.step for event in own.Images("pictures/inpainting")] == [0, 2, 4]
    run(JOB, sites / "a", tmp_path / "out", resume=True, pictures=True)
    assert pictures(tmp_path / "out") == {"sites/a/tensorboard", "tensorboard/a/pictures"}


def test_sites_that_had_not_begun_start_when_the_run_is_resumed(sites, tmp_path, monkeypatch):
    run(JOB, sites, tmp_path / "whole")
    start = training.start_run

    def cut_off(out, job):
        if out.name == "b":
            raise KeyboardInterrupt
        start(out, job)

    monkeypatch.setattr(training, "start_run", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(JOB, sites, tmp_path / "cut")
    monkeypatch.undo()
    run(JOB, sites, tmp_path / "cut", resume=True)
    for name in "ab":
        whole, cut = (load_weights(tmp_path / folder / name / "global" / "last.pt") for folder in ("whole", "cut"))
        assert whole.digest == cut.digest
    with pytest.raises(FedSwinError, match="holds no run to resume"):
        run(JOB, sites, tmp_path / "nothing", resume=True)
