"""The page: complete in itself, well formed, and safe whatever a site has sent."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from end_to_end import tiny
from fedswin import cli
from fedswin.config import Job
from fedswin.errors import FedSwinError
from fedswin.outcome import Outcome
from fedswin.records import Record, round_record
from fedswin.report.facts import gather
from fedswin.report.page import refuse_report, render, write_report
from fedswin.run_folder import copy_shared_part
from learning import AT_CHANCE, COLLAPSED, learning_record
from report import runs
from report.runs import FINETUNE, PRETRAIN, write_run

DONE = Outcome("completed", 3, "All 3 rounds are done.")
VOID = {"meta", "br", "img", "hr", "link", "input", "wbr"}


class Reader(HTMLParser):
    """Notes the elements of a page, and refuses one whose tags do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, attribute: str) -> list[str]:
        return [str(found[attribute]) for _, found in self.elements if attribute in found]


@pytest.fixture
def several(tmp_path: Path) -> str:
    """The page of a federated run, one site alone and a pre-training."""
    write_run(tmp_path / "together", FINETUNE, runs.three_sites(), ended=DONE)
    alone = [round_record(0, "initial", {"a": runs.site({"liver": 0.4, "spleen": 0.2})})]
    write_run(tmp_path / "alone", FINETUNE, alone, command="train", sites=["a"])
    losses = {"metrics": {"loss": 1.0, "inpainting": 0.2}, "validation_cases": 1}
    write_run(tmp_path / "pretrain", PRETRAIN, [round_record(0, "initial", {"a": losses})])
    return render(gather([tmp_path / "together", tmp_path / "alone", tmp_path / "pretrain"]))


def test_the_page_loads_nothing(several: str) -> None:
    page = Reader(several)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.elements}
    assert all(source.startswith("data:") for source in page.all("src"))
    assert all(target.startswith("#") for target in page.all("href"))
    assert "http" not in re.sub("http-equiv", "", several)
    assert not re.search(r"url\(|@import", several)
    assert "default-src 'none'" in several


def test_the_links_lead_somewhere_and_names_are_used_once(several: str) -> None:
    page = Reader(several)
    names = page.all("id")
    assert len(names) == len(set(names))
    assert {target[1:] for target in page.all("href")} <= set(names)
    labelled = {name for names in page.all("aria-labelledby") for name in names.split()}
    assert labelled <= set(names)


def test_headings_go_down_one_at_a_time(several: str) -> None:
    levels = [int(tag[1]) for tag, _ in Reader(several).elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


def test_what_a_site_sends_is_text_and_no_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x>"
    records = [
        round_record(0, "initial", {evil: runs.site({"liver": 0.1, "spleen": 0.2})}),
        round_record(
            1,
            "ok",
            {evil: runs.site({"liver": 0.1, "spleen": 0.2}, **runs.trained(1.0))},
            refused=[{"site": "b", "reason": evil}],
        ),
    ]
    page = render(gather([write_run(tmp_path, FINETUNE, records, sites=[evil], platform=evil)]))
    assert {"script", "img"}.isdisjoint(tag for tag, _ in Reader(page).elements)
    assert "&lt;script&gt;" in page


def test_a_pre_training_that_does_not_learn_is_said_so_by_site_and_in_words(tmp_path: Path) -> None:
    job = PRETRAIN.changed("pretraining", validation_batches=12)
    learned = learning_record(1, patients=4)["sites"]["a"]
    lost = learning_record(1, patients=3, **COLLAPSED)["sites"]["a"]
    records = [
        learning_record(0, **AT_CHANCE, loss=3.0),
        round_record(1, "ok", {"a": learned, "b": lost}),
        round_record(2, "ok", {"a": {**lost, "metrics": {**lost["metrics"], "loss": 2.0}}, "b": lost}),
    ]
    page = render(gather([write_run(tmp_path, job, records, sites=["a", "b"])]))
    assert "Whether it learns: rotation 0.51 (chance 0.25), contrastive 0.78 of chance, features spread 0.063" in page
    assert "The last model, of round 2: " in page
    assert "What to do: jobs/when_pretraining_does_not_learn.md." in page
    row = re.search(r"whether it learns</th>(.*?)</tr>", page, re.DOTALL)
    assert row
    assert re.findall(r">([a-z ]+)</td>", row[1]) == ["learns", "learns", "collapsed"]
    for name in ("contrastive loss, share of chance", "spread of the features", "rank of the features"):
        assert page.count(name) >= 2, "a row and a chart"
    assert "rotation_accuracy_sd" not in page
    assert "rotation accuracy sd" not in page


def one_round(job: Job) -> list[Record]:
    metrics = dict.fromkeys(job.metrics, 0.5)
    scored = {"metrics": metrics, "validation_cases": 1}
    return [round_record(0, "initial", {"a": scored}), round_record(1, "ok", {"a": {**scored, **runs.trained(1.0)}})]


def without_validation(job: Job) -> list[Record]:
    return [round_record(n, "ok" if n else "initial", {"a": {**runs.trained(1.0), "metrics": {}}}) for n in range(3)]


def nobody_came(job: Job) -> list[Record]:
    return [round_record(1, "failed", {}, missing=["a", "b"]), round_record(2, "failed", {}, missing=["a", "b"])]


@pytest.mark.parametrize("job", [PRETRAIN, FINETUNE], ids=["pretrain", "finetune"])
@pytest.mark.parametrize("records", [one_round, without_validation, nobody_came, lambda job: []])
def test_a_run_of_any_kind_has_a_page(tmp_path: Path, job: Job, records) -> None:
    page = render(gather([write_run(tmp_path, job, records(job))]))
    assert "What happened" in page
    assert "Limits of use" in page
    Reader(page)


def test_a_run_without_provenance_has_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, FINETUNE, runs.three_sites())
    (run / "provenance.json").unlink()
    Reader(render(gather([run])))


def test_a_fetched_run_gives_the_same_page(tmp_path: Path) -> None:
    here = write_run(tmp_path / "here" / "run", FINETUNE, runs.three_sites(), ended=DONE)
    (here / "sites" / "a").mkdir(parents=True)
    (here / "sites" / "a" / "journal.jsonl").write_text("secret")
    fetched = tmp_path / "fetched" / "run"
    fetched.mkdir(parents=True)
    copy_shared_part(here, fetched)
    pages = [re.sub("Made on .* by", "", render(gather([run]))) for run in (here, fetched)]
    assert pages[0] == pages[1]


def test_folds_have_a_section_of_their_own(tmp_path: Path) -> None:
    for fold in range(2):
        job = tiny.job({**tiny.FINETUNE, "data": {**tiny.FINETUNE["data"], "fold": fold}})
        write_run(tmp_path / "cv" / f"fold{fold}", job, one_round(job))
    page = render(gather([tmp_path / "cv"]))
    assert "Cross-validation: cv" in page
    assert "but for the fold" in page
    Reader(page)


def test_cross_validations_are_compared(tmp_path: Path) -> None:
    for name, fold in itertools.product(("with", "without"), range(2)):
        job = tiny.job({**tiny.FINETUNE, "data": {**tiny.FINETUNE["data"], "fold": fold}})
        write_run(tmp_path / name / f"fold{fold}", job, one_round(job))
    page = render(gather([tmp_path / "with", tmp_path / "without"]))
    assert page.count("0.500 ± 0.00 (2 folds)") == 2
    assert 'href="#comparison"' in page
    Reader(page)


def test_a_report_without_a_federation_does_not_speak_of_one(tmp_path: Path) -> None:
    run = write_run(tmp_path, FINETUNE, one_round(FINETUNE), command="train", sites=["a"])
    page = render(gather([run]))
    assert "Report of a study" in page
    assert not re.search("federated study|global model", page)


@pytest.mark.parametrize("value", [1.75e308, -1.75e308, 5e-324, None])
def test_no_number_of_a_site_ends_the_report(tmp_path: Path, value: float | None) -> None:
    answer = {"seconds": value, "waiting": value, "memory": value, "bytes_up": value, "bytes_down": value}
    told = {"train": {"loss": value, "gradient_norm": value}, "norm": value, "cosine": value, **answer}
    metrics = {"dice": value, "dice_liver": value, "dice_spleen": 0.5}
    line = {"metrics": metrics, "validation_cases": 1, "weight": 4, **told}
    other = {**line, **runs.site({"liver": 0.5, "spleen": 0.5})}
    records = [{"round": n, "status": "ok", "global": metrics, "sites": {"a": line, "b": other}} for n in range(3)]
    run = write_run(tmp_path, FINETUNE, [])
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    Reader(render(gather([run])))


def test_hundreds_of_rounds_stay_small(tmp_path: Path) -> None:
    scored = runs.site({"liver": 0.4, "spleen": 0.2}, **runs.trained(1.0))
    records = [round_record(n, "ok" if n else "initial", dict.fromkeys("abcdef", scored)) for n in range(901)]
    run = write_run(tmp_path, FINETUNE, [])
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert len(render(gather([run])).encode()) < 1_000_000


def test_nothing_but_a_report_is_replaced(tmp_path: Path) -> None:
    groups = gather([write_run(tmp_path / "run", FINETUNE, [])])
    out, other = tmp_path / "report.html", tmp_path / "other.html"
    other.write_text("<p>mine</p>")
    write_report(groups, None, out)
    with pytest.raises(FedSwinError, match="--overwrite"):
        refuse_report(out, overwrite=False)
    refuse_report(out, overwrite=True)
    with pytest.raises(FedSwinError, match="something other than a report"):
        refuse_report(other, overwrite=True)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = write_run(tmp_path / "run", FINETUNE, runs.three_sites()), tmp_path / "report.html"
    monkeypatch.setattr("sys.argv", ["fedswin", "report", str(run), "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert f"{out}: " in capsys.readouterr().out
    assert "tiny_finetune" in out.read_text()


def test_a_page_with_pictures_says_who_may_see_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", FINETUNE, runs.three_sites())
    assert "no image and no name of a patient" in render(gather([run]))
    writer = SummaryWriter(str(run / "tensorboard" / "a" / "pictures"))
    writer.add_image("pictures/segmentation", np.zeros((3, 4, 6), np.uint8), 30)
    writer.close()
    page = render(gather([run]))
    pictures = [found for tag, found in Reader(page).elements if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["segmentation at a, step 30"]
    assert "no image" not in page
    assert "This page shows pictures of patients" in page
