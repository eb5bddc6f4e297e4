"""What leaves a site, seen where it leaves: the model's parameters and known numbers, and nothing of the data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from end_to_end import tiny
from end_to_end.proofs.captured import Message, leaves, messages
from end_to_end.proofs.conftest import JOBS, SITES, Study, WatchedFederation
from end_to_end.proofs.marked_sites import MARKER, files_with, marked
from fedswin.federation.messages import PREPARE, TRAIN, VALIDATE
from fedswin.records import read_records
from fedswin.tasks import build_model
from fedswin.weights.file import parameters

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

ANSWERS = {PREPARE: 1, TRAIN: 2, VALIDATE: 1}
"""How many answers a site gives in a job of two rounds."""
LOSSES = {"loss", "inpainting", "rotation", "contrastive"}
DIAGNOSTICS = {"rotation_accuracy", "contrastive_share", "feature_spread", "feature_rank"}
OF_SEVERAL_PATIENTS = {"rotation_accuracy_sd"}
METRICS = {"pretrain": LOSSES | DIAGNOSTICS, "finetune": {"dice", "dice_lump"}}
TRAINING = {"pretrain": LOSSES, "finetune": {"loss"}}
OF_THE_OPTIMIZER = {"learning_rate", "gradient_norm"}
OF_EACH_STEP = {"steps_per_second", "voxels_per_second", "memory_megabytes", "waiting_seconds"}
COUNTS = {"cases", "validation_cases", "steps", "seconds", "bytes_up", "bytes_down", "previous", "voxels", "memory"}
PRECISIONS = {"float32", "bfloat16"}
WORDS = {
    *PRECISIONS,
    *("", "ok", "eof", "_ok", "success", "study", "fed.event", "fed.analytix_log_stats", "fedswin_alive"),
    *("DXO", "WEIGHTS", "METRICS", "ANALYTIC", "SCALAR", "TORCH_TENSORBOARD", PREPARE, TRAIN, VALIDATE),
    *("__sync_runner__", "__job_heartbeat__", "__task_check__", "__end_run__", "Start the client app..."),
    *("reply", "scheduler.check_resource", "train.notify_job_status", "train.start_job", "train.deploy"),
    *("notify status: 2", "notify status: 3"),
}
"""What NVFlare's processes say to each other, beside names of sites and ids."""
ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
CREDENTIALS = {("cert",), ("signature",)}


@pytest.fixture(scope="module")
def sent(federation: WatchedFederation, study: Study) -> dict[str, list[Message]]:
    """What each site's processes sent in the study and before."""
    return {site: messages(federation.captured / site) for site in SITES}


def of_job(sent: list[Message], job_id: str) -> dict[str, list[Message]]:
    """Return the answers and the events of a job."""
    answers = [message for message in sent if message.task and message.job_id == job_id]
    events = [message for message in sent if message.topic == "fed.event" and message.job_id == job_id]
    return {"answers": answers, "events": events}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("task", JOBS)
class TestAnAnswer:
    def test_has_the_models_parameters_and_no_other_tensor(
        self, sent: dict[str, list[Message]], study: Study, task: str, site: str
    ) -> None:
        answers = of_job(sent[site], study.job_ids[task])["answers"]
        assert Counter(answer.task for answer in answers) == ANSWERS
        expected = {name: (tensor.shape, tensor.dtype) for name, tensor in parameters(build_model(JOBS[task])).items()}
        for answer in answers:
            found = {path: (leaf.shape, leaf.dtype) for path, leaf in leaves(answer.payload) if is_tensor(leaf)}
            wanted = {("DXO", "data", name): kind for name, kind in expected.items()}
            assert found == (wanted if answer.task == TRAIN else {})

    def test_has_beside_them_known_numbers_alone(
        self, sent: dict[str, list[Message]], study: Study, task: str, site: str
    ) -> None:
        for answer in of_job(sent[site], study.job_ids[task])["answers"]:
            content = answer.payload["DXO"]
            assert set(content) == {"kind", "data", "meta"}
            numbers = {path[1:]: leaf for path, leaf in leaves(content, ("",)) if not is_tensor(leaf)}
            assert numbers.pop(("kind",)) == ("WEIGHTS" if answer.task == TRAIN else "METRICS")
            if answer.task == PREPARE:
                assert numbers.pop(("meta", "precision")) in PRECISIONS
            assert set(numbers) <= set(known_numbers(task)), answer.task
            assert all(type(number) in (int, float) for number in numbers.values())

    def test_is_all_the_tensors_that_are_transferred(
        self, sent: dict[str, list[Message]], study: Study, task: str, site: str
    ) -> None:
        """The server fetches tensors piece by piece, by number."""
        answers = of_job(sent[site], study.job_ids[task])["answers"]
        (process,) = {answer.process for answer in answers}
        pieces = [
            tensor
            for message in sent[site]
            if message.process == process and isinstance(message.payload, dict)
            for piece in message.payload.get("data", ())
            for tensor in load(bytes(piece)).values()
        ]
        tensors = [leaf for answer in answers for _, leaf in leaves(answer.payload) if is_tensor(leaf)]
        assert {content(piece) for piece in pieces} == {content(tensor) for tensor in tensors}


def known_numbers(task: str) -> Iterator[tuple[str, ...]]:
    """Yield where an answer may have a number."""
    yield from (("meta", name) for name in COUNTS)
    yield from (("meta", "train", name) for name in TRAINING[task] | OF_THE_OPTIMIZER)
    yield from (("meta", "labels", name) for name in JOBS[task].segmentation.classes)
    for name in METRICS[task] | (OF_SEVERAL_PATIENTS if task == "pretrain" else set()):
        yield "meta", "scored", name
        yield from (("meta", "initial_metrics", name), ("data", name))


def is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def content(tensor: Tensor) -> tuple[Any, bytes]:
    return tensor.shape, tensor.numpy().tobytes()


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("task", JOBS)
def test_a_curve_is_numbers_under_known_names(
    sent: dict[str, list[Message]], study: Study, task: str, site: str
) -> None:
    events = of_job(sent[site], study.job_ids[task])["events"]
    names = {f"train/{name}" for name in TRAINING[task] | OF_THE_OPTIMIZER | OF_EACH_STEP}
    assert {event.payload["DXO"]["data"]["track_key"] for event in events} == names
    for event in events:
        point = event.payload["DXO"]["data"]
        assert set(point) == {"track_key", "track_value", "global_step", "analytics_kwargs"}
        assert type(point["track_value"]) is float
        assert point["analytics_kwargs"] == {"global_step": point["global_step"]}


@pytest.mark.parametrize("site", SITES)
def test_nothing_else_that_is_sent_is_a_text_of_ones_own(
    sent: dict[str, list[Message]], study: Study, site: str
) -> None:
    words = WORDS | {site, f"deployed app_{site} to {site}"}
    assert any(message.topic == "fed.event" for message in sent[site])
    odd = [
        (path, leaf)
        for message in sent[site]
        for path, leaf in leaves(message.payload)
        if path[-1:] != ("track_key",)
        and (
            (isinstance(leaf, str) and leaf.removeprefix("reply_") not in words and not ID.fullmatch(leaf))
            or (isinstance(leaf, bytes) and path not in (*CREDENTIALS, ("data",)))
        )
    ]
    assert odd == []


def test_a_marker_in_the_data_is_nowhere_but_at_the_sites(federation: WatchedFederation, study: Study) -> None:
    server = federation.running.kits / "server"
    for folder in (server, *study.runs.values(), *(federation.captured / site for site in SITES)):
        assert any(folder.iterdir())
        assert marked(folder) == [], folder
    assert MARKER not in federation.running.tail("server")


@pytest.mark.parametrize("site", SITES)
def test_the_search_finds_the_marker_where_it_is(federation: WatchedFederation, study: Study, site: str) -> None:
    assert "local/site.yaml" in marked(federation.running.kits / site)
    found = marked(federation.data / site)
    assert "datalist.json" in found
    assert any(path.endswith(".nii.gz/content") for path in found)


def test_the_search_looks_into_the_jobs_that_the_server_stores(federation: WatchedFederation, study: Study) -> None:
    server = federation.running.kits / "server"
    found = files_with(b"name: tiny_finetune", server)
    job = f"storage/jobs/{study.job_ids['finetune']}"
    assert any(path.startswith(f"{job}/data/") for path in found)
    assert any(path.startswith(f"{job}/workspace/") for path in found)


def test_scalars_that_a_site_keeps_back_reach_neither_records_nor_curves(
    federation: WatchedFederation, study: Study, tmp_path: Path
) -> None:
    silent, open_site = "hospital_b", "hospital_a"
    federation.write_policy(silent, "scalars: [loss]")
    job = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 1, "local_steps": 1}})
    federation.run(job, tmp_path / "run")
    records = read_records(tmp_path / "run")
    assert [record["round"] for record in records] == [0, 1]
    for record in records:
        assert set(record["sites"][silent]["metrics"]) == {"loss"}
        assert set(record["sites"][open_site]["metrics"]) == METRICS["pretrain"]
    assert set(records[1]["sites"][silent]["train"]) == {"loss"}
    assert set(records[1]["sites"][open_site]["train"]) == LOSSES | OF_THE_OPTIMIZER
    of_the_site = {tag for tag in curves(tmp_path / "run", silent) if not tag.startswith("round/")}
    assert of_the_site == {"train/loss", "validation/loss"}
    assert curves(tmp_path / "run", open_site) > {"train/rotation", "validation/rotation_accuracy"}


def curves(run: Path, site: str) -> set[str]:
    return set(EventAccumulator(str(run / "tensorboard" / site)).Reload().Tags()["scalars"])
